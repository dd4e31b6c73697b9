//! The scores against the programs that others publish with, and what always holds of them.

mod conlleval;
mod prompts;
mod sacrebleu;
mod tasks;
mod translations;
