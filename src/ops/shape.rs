use super::*;
fn z(_: &Cost<'_>) -> f64 {0.0}
pub static RESHAPE: Op = Op{name:"RESHAPE",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static PERMUTE: Op = Op{name:"PERMUTE",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static BROADCAST: Op = Op{name:"BROADCAST",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static SLICE: Op = Op{name:"SLICE",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static PAD: Op = Op{name:"PAD",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static CONCAT: Op = Op{name:"CONCAT",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static FLIP: Op = Op{name:"FLIP",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
