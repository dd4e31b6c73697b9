//! The operations against the numbers of torch.

mod cross_entropy;
