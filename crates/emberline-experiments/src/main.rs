//! Every run as a preset, its report, and the binary that xtask starts.

fn main() {}
