//! The names that torch gives to the tensors of its recurrent modules.

use emberline_checkpoint::Stored;

/// The name of a parameter of [`Lstm`](crate::Lstm) in the state dict of `torch.nn.LSTM`.
///
/// Matrices are stored with the gates as rows there, and as columns here.
///
/// ```
/// # use emberline_recurrent::torch;
/// let stored = torch::lstm_name("layers.1.weight_hidden");
/// assert_eq!((stored.name.as_str(), stored.transposed), ("weight_hh_l1", true));
/// ```
pub fn lstm_name(path: &str) -> Stored {
    let mut parts = path.split('.').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(layer), Some("weight_input"), None) => {
            Stored::transposed(&format!("weight_ih_l{layer}"))
        }
        (Some(layer), Some("weight_hidden"), None) => {
            Stored::transposed(&format!("weight_hh_l{layer}"))
        }
        (Some(layer), Some("bias_input"), None) => Stored::same(&format!("bias_ih_l{layer}")),
        (Some(layer), Some("bias_hidden"), None) => Stored::same(&format!("bias_hh_l{layer}")),
        _ => Stored::same(path),
    }
}
