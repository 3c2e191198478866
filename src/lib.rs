//! `ssl`: a language and compiler for self-supervised learning, student/teacher training and data flywheels.
//!
//! The modules stand in the order in which data flows: text comes in at `source`, a trained network leaves at `run`.

pub mod data;
pub mod diagnostics;
pub mod events;
pub mod graph;
pub mod kernels;
pub mod ops;
pub mod plan;
pub mod program;
pub mod run;
pub mod source;
pub mod syntax;
