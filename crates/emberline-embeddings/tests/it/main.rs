//! ELMo against its published code and against torch.

mod elmo;
mod elmo_published;
