//! The names in files of what the recurrent models have in common.

use emberline_checkpoint::Stored;
use emberline_recurrent::torch;

/// The name of a parameter of a model with the fields `embedding`, `recurrent` and `head`: that of a torch module
/// with the fields `embedding` (`nn.Embedding`), `head` (`nn.Linear`), and `rnn` (`nn.RNN`), `gru` (`nn.GRU`) or
/// `lstm` (`nn.LSTM`).
pub(crate) fn stored_name(path: &str) -> Stored {
    match path.split_once('.') {
        Some(("recurrent", path)) => {
            let Stored { name, transposed } = torch::stored_name(path);
            let field = torch::field_name(path);
            Stored { name: format!("{field}.{name}"), transposed }
        }
        _ if path == "head.weight" => Stored::transposed(path),
        _ => Stored::same(path),
    }
}

/// The name of a parameter of a model with embeddings, an `encoder` and a `decoder` of recurrent layers, and linear
/// layers: that of a torch module with the same fields, as `nn.Embedding`, a recurrent module and `nn.Linear`.
pub(crate) fn stored_translator_name(path: &str) -> Stored {
    match path.split_once('.') {
        Some((field @ ("encoder" | "decoder"), path)) => {
            let Stored { name, transposed } = torch::stored_name(path);
            Stored { name: format!("{field}.{name}"), transposed }
        }
        Some(("source_embedding" | "target_embedding", _)) => Stored::same(path),
        _ if path.ends_with(".weight") => Stored::transposed(path),
        _ => Stored::same(path),
    }
}
