//! Two commits side by side: what the parts of each take in instructions, and how fast the programs of both are.

pub mod instructions;
pub mod paired;

/// How often each part of `benches/speed/instructions.rs` does its work.
pub const COUNT: u64 = 512;
