use super::*;
fn z(_: &Cost<'_>) -> f64 {0.0}
pub static FOLD_KEY: Op = Op{name:"FOLD_KEY",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static FOLD_INDEX: Op = Op{name:"FOLD_INDEX",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static UNIFORM: Op = Op{name:"UNIFORM",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static NORMAL: Op = Op{name:"NORMAL",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static BITS: Op = Op{name:"BITS",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
pub static PERMUTATION: Op = Op{name:"PERMUTATION",doc:"",signature:"",attrs:&[],infer:|_|Ok(Types::new()),gradient:Gradient::Structural,rows:Rows::Leading,kernel:|_|candle_core::bail!(""),flops:z,domain:Domain::Special(""),examples:&[]};
