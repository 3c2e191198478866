//! `ssl`: a language and compiler for self-supervised learning, student/teacher training and data flywheels.
//!
//! The modules stand in the order in which data flows: text comes in at `source`, a trained network leaves at `run`.

pub mod source;
pub mod diagnostics;
pub mod syntax;
pub mod resolve;
pub mod elaborate;
pub mod graph;
pub mod ops;
pub mod gradient;
pub mod passes;
pub mod program;
pub mod plan;
pub mod kernels;
pub mod lints;
pub mod data;
pub mod run;
pub mod events;
pub mod cli;
