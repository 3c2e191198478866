use super::*;
fn z(_: &Cost<'_>) -> f64 {0.0}
pub static SUM: Op = Op{name:"SUM",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static MAX: Op = Op{name:"MAX",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static MIN: Op = Op{name:"MIN",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static PROD: Op = Op{name:"PROD",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static ARGMAX: Op = Op{name:"ARGMAX",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static ARGMIN: Op = Op{name:"ARGMIN",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static CUMSUM: Op = Op{name:"CUMSUM",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static ACCUMULATE: Op = Op{name:"ACCUMULATE",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
