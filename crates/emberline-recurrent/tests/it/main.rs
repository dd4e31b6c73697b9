//! Recurrent layers as their users meet them: torch's numbers, torch's files, and every shape of task.

mod fixture;
mod parity;
mod state_dicts;
mod topologies;
