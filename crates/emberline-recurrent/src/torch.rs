//! The names that torch gives to the tensors of its recurrent modules.

use emberline_checkpoint::Stored;

/// The name of a parameter of a [`Stack`](crate::Stack) in the state dict of `torch.nn.RNN`, `torch.nn.GRU` or
/// `torch.nn.LSTM`: the three differ in the width of the tensors alone.
///
/// Matrices are stored with the gates as rows there, and as columns here. torch concatenates the outputs of
/// the two directions: layers above the first have the same weights only with
/// [`Merge::Concat`](crate::Merge::Concat).
///
/// ```
/// # use emberline_recurrent::torch;
/// let name = |path: &str| torch::stored_name(path).name;
/// assert_eq!(name("layers.0.weight_input"), "weight_ih_l0");
/// assert_eq!(name("layers.1.forward.weight_hidden"), "weight_hh_l1");
/// assert_eq!(name("layers.1.reverse.projection"), "weight_hr_l1_reverse");
/// ```
pub fn stored_name(path: &str) -> Stored {
    // `layers`, its index, the direction of a bidirectional layer, the kind of any cell, the parameter.
    let parts: Vec<&str> = path.split('.').collect();
    let ["layers", layer, between @ .., parameter] = parts.as_slice() else {
        return Stored::same(path);
    };
    let suffix = if between.contains(&"reverse") { "_reverse" } else { "" };
    match *parameter {
        "weight_input" => Stored::transposed(&format!("weight_ih_l{layer}{suffix}")),
        "weight_hidden" => Stored::transposed(&format!("weight_hh_l{layer}{suffix}")),
        "bias_input" => Stored::same(&format!("bias_ih_l{layer}{suffix}")),
        "bias_hidden" => Stored::same(&format!("bias_hh_l{layer}{suffix}")),
        "projection" => Stored::transposed(&format!("weight_hr_l{layer}{suffix}")),
        _ => Stored::same(path),
    }
}

/// The field that holds an [`AnyStack`](crate::AnyStack) in a torch module, by custom: `rnn`, `gru` or `lstm`.
///
/// ```
/// # use emberline_recurrent::torch;
/// assert_eq!(torch::field_name("layers.0.Gru.weight_input"), "gru");
/// ```
///
/// # Panics
/// If the path is not that of a parameter of [`AnyCell`](crate::AnyCell).
pub fn field_name(path: &str) -> &'static str {
    let field = |part: &str| match part {
        "Rnn" => Some("rnn"),
        "Gru" => Some("gru"),
        "Lstm" => Some("lstm"),
        _ => None,
    };
    path.split('.').find_map(field).unwrap_or_else(|| panic!("{path} goes through no kind of cell"))
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::Stream;
    use emberline_core::parameters::parameters;

    use super::*;
    use crate::{AnyConfig, CellKind, LstmConfig, Merge};

    fn names<M: burn::module::Module>(module: &M) -> Vec<String> {
        parameters(module).iter().map(|parameter| stored_name(&parameter.path).name).collect()
    }

    #[test]
    fn every_parameter_of_projected_bidirectional_layers_has_the_name_of_torch() {
        let config = LstmConfig { d_projection: Some(2), ..LstmConfig::new(3, 4, 2) };
        let layers = config.init_bidirectional(Merge::Concat, Stream::new(0), &test_device());
        let expected = ["l0", "l0_reverse", "l1", "l1_reverse"].map(|place| {
            ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
                .map(|parameter| format!("{parameter}_{place}"))
        });
        assert_eq!(names(&layers), expected.concat());
    }

    #[test]
    fn the_kind_of_any_cell_is_no_part_of_the_name() {
        let config =
            AnyConfig { cell: CellKind::Gru, d_input: 3, d_hidden: 4, n_layers: 1, dropout: 0.0 };
        let layers = config.init_bidirectional(Merge::Sum, Stream::new(0), &test_device());
        let expected = ["l0", "l0_reverse"].map(|place| {
            ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
                .map(|parameter| format!("{parameter}_{place}"))
        });
        assert_eq!(names(&layers), expected.concat());
    }
}
