//! What an instruction costs besides its kernel: a chain of 1,000 additions of 16 floats.

use std::time::Instant;

use candle_core::{Device, Tensor};
use ssl::graph::{Attrs, Bindings, Builder, DType, Size, Type};
use ssl::ops::elementwise::ADD;
use ssl::plan::{Program, plan_graph};
use ssl::run::{Account, Registers, execute};

const LENGTH: usize = 1000;
const RUNS: usize = 2000;
/// Seconds that an instruction may take.
const LIMIT: f64 = 1e-6;

fn chain() -> Program {
    let mut builder = Builder::new();
    let x = builder.input("x", Type::new(DType::F32, [Size::known(16)]));
    let mut sum = x;
    for _ in 0..LENGTH {
        sum = builder.apply(&ADD, &[sum, x], Attrs::none()).expect("equal types add");
    }
    plan_graph(&builder.finish(vec![sum]), &Bindings::new()).expect("a chain can be planned")
}

fn main() {
    let program = chain();
    let x = Tensor::ones(16, candle_core::DType::F32, &Device::Cpu).expect("16 floats fit");
    let run = |account: Option<&mut Account>| {
        let mut registers = Registers::new(&program);
        for (_, register) in &program.inputs {
            registers.put(*register, x.clone());
        }
        execute(&program, &mut registers, &Device::Cpu, account).expect("additions succeed");
    };
    (0..RUNS / 10).for_each(|_| run(None));
    let begun = Instant::now();
    (0..RUNS).for_each(|_| run(None));
    let each = begun.elapsed().as_secs_f64() / (RUNS * LENGTH) as f64;

    let mut account = Account::default();
    let begun = Instant::now();
    (0..RUNS).for_each(|_| run(Some(&mut account)));
    let timed = begun.elapsed().as_secs_f64() / (RUNS * LENGTH) as f64;
    let inside = account.inside().as_secs_f64() / (RUNS * LENGTH) as f64;
    let said = if each < LIMIT { "holds" } else { "IS MISSED" };
    println!("an instruction: {:.0} ns in all, the limit of {:.0} ns {said}", each * 1e9, LIMIT * 1e9);
    println!(
        "  with clocks: {:.0} ns in all, {:.0} ns inside the kernel, {:.0} ns outside",
        timed * 1e9,
        inside * 1e9,
        (timed - inside) * 1e9
    );
}
