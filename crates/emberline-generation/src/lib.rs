//! The decoding engine: greedy, temperature, top-k, top-p, streaming.
