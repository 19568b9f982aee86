//! nvmf-tgt: serves block devices over NVMe/TCP.
#![forbid(unsafe_code)]

fn main() {}
