//! The names in files of what several models have in common.

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

/// The name of a parameter of a GPT: that of a class of `transformers` with a head, whose matrices lie as ours do. The
/// tables of tokens and of positions have names of their own in each.
pub(crate) fn stored_gpt_name(path: &str, [tokens, positions]: [&str; 2]) -> Stored {
    let parts: Vec<&str> = path.split('.').collect();
    let Some((parameter, modules)) = parts.split_last() else { return Stored::same(path) };
    let module = match modules {
        ["embedding"] => tokens.to_string(),
        ["positions"] => positions.to_string(),
        ["norm"] => "ln_f".to_string(),
        ["blocks", layer, "attention_norm"] => format!("h.{layer}.ln_1"),
        ["blocks", layer, "attention", "input"] => format!("h.{layer}.attn.c_attn"),
        ["blocks", layer, "attention", "output"] => format!("h.{layer}.attn.c_proj"),
        ["blocks", layer, "feed_forward_norm"] => format!("h.{layer}.ln_2"),
        ["blocks", layer, "feed_forward", "inner"] => format!("h.{layer}.mlp.c_fc"),
        ["blocks", layer, "feed_forward", "outer"] => format!("h.{layer}.mlp.c_proj"),
        _ => return Stored::same(path),
    };
    let parameter = match *parameter {
        "gamma" | "table" => "weight",
        "beta" => "bias",
        other => other,
    };
    Stored::same(&format!("transformer.{module}.{parameter}"))
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
