//! The layout of TensorFlow 1 (`BasicLSTMCell`, `LSTMCell` without peepholes), in which ELMo was published.
//!
//! One kernel acts on `[x; h]`, its columns are the gates i, j, f, o, there is one bias, and 1 is added to the
//! forget gate's sum at run time: it is in no file.
//!
//! ```text
//! i, j, f, o = [x; h] K + B
//! c' = σ(f + 1) ⊙ c + σ(i) ⊙ tanh(j)      h' = σ(o) ⊙ tanh(c'), times P if there is one
//! ```

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};
use emberline_backend::recurrent::LstmOptions;

use crate::lstm::LstmCell;

/// What TensorFlow adds to the forget gate unless told otherwise.
pub const FORGET_BIAS: f64 = 1.0;

/// Why tensors are not those of an LSTM in TensorFlow's layout.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The kernel is no matrix, or does not hold four gates.
    #[error("the kernel is {found:?}: expected [d_input + d_output, 4 · d_hidden]")]
    Kernel {
        /// Its shape.
        found: Vec<usize>,
    },
    /// The kernel has no row for an input.
    #[error("the kernel has {found} rows: expected more than the {d_output} of the hidden state")]
    NoInput {
        /// The rows of the kernel.
        found: usize,
        /// The width of the hidden state.
        d_output: usize,
    },
    /// The bias is not as wide as the kernel.
    #[error("the bias is {found:?}: expected {expected:?}, as wide as the kernel")]
    Bias {
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits the kernel.
        expected: [usize; 1],
    },
    /// The projection does not take what the kernel gives.
    #[error(
        "the projection is {found:?}: expected [{d_hidden}, d_output], as the kernel has {d_hidden} cells"
    )]
    Projection {
        /// Its shape.
        found: Vec<usize>,
        /// The width of the memory cell.
        d_hidden: usize,
    },
    /// A tensor is not of floats.
    #[error("the {tensor} has elements of type {found:?}: expected floats")]
    NotFloat {
        /// `kernel`, `bias` or `projection`.
        tensor: &'static str,
        /// Its element type.
        found: DType,
    },
}

/// The tensors of an LSTM layer as TensorFlow stores them.
#[derive(Clone, Debug)]
pub struct TensorFlowLstm {
    /// K, `[d_input + d_output, 4 · d_hidden]`.
    pub kernel: TensorData,
    /// B, `[4 · d_hidden]`.
    pub bias: TensorData,
    /// P, `[d_hidden, d_output]`; without it both widths are equal.
    pub projection: Option<TensorData>,
}

impl TensorFlowLstm {
    /// The same layer in our order, with the element type of the kernel. The forget gate's 1 is added to its
    /// bias, and the bias of the hidden part is zero.
    ///
    /// # Errors
    /// If a tensor has another shape than the others want, or is not of floats.
    pub fn into_cell(self, options: LstmOptions, device: &Device) -> Result<LstmCell, LayoutError> {
        let [rows, d_hidden, d_output] = self.sizes()?;
        let dtype = self.kernel.dtype();
        let kernel = Tensor::<2>::from_data(self.kernel, (device, dtype));
        let bias = Tensor::<1>::from_data(self.bias, (device, dtype));
        let [i, j, f, o] = gates(kernel);
        let kernel = Tensor::cat(vec![i, f, j, o], 1);
        let [i, j, f, o] = gates(bias);
        let bias = Tensor::cat(vec![i, f + FORGET_BIAS, j, o], 0);
        let d_input = rows - d_output;
        let projection = self
            .projection
            .map(|projection| Param::from_tensor(Tensor::from_data(projection, (device, dtype))));
        Ok(LstmCell {
            weight_input: Param::from_tensor(kernel.clone().narrow(0, 0, d_input)),
            weight_hidden: Param::from_tensor(kernel.narrow(0, d_input, d_output)),
            bias_input: Param::from_tensor(bias),
            bias_hidden: Param::from_tensor(Tensor::zeros([4 * d_hidden], (device, dtype))),
            projection,
            cell_clip: options.cell_clip,
            projection_clip: options.projection_clip,
        })
    }

    /// The rows of the kernel, and the widths of cell and output.
    fn sizes(&self) -> Result<[usize; 3], LayoutError> {
        let tensors = [("kernel", Some(&self.kernel)), ("bias", Some(&self.bias))];
        for (tensor, data) in tensors.into_iter().chain([("projection", self.projection.as_ref())])
        {
            if let Some(found) = data.map(TensorData::dtype).filter(|dtype| !dtype.is_float()) {
                return Err(LayoutError::NotFloat { tensor, found });
            }
        }
        let shape = |data: &TensorData| data.shape().to_vec();
        let (rows, columns) = match shape(&self.kernel)[..] {
            [rows, columns] if columns > 0 && columns.is_multiple_of(4) => (rows, columns),
            _ => return Err(LayoutError::Kernel { found: shape(&self.kernel) }),
        };
        if shape(&self.bias) != [columns] {
            return Err(LayoutError::Bias { found: shape(&self.bias), expected: [columns] });
        }
        let d_hidden = columns / 4;
        let d_output = match self.projection.as_ref().map(shape) {
            None => d_hidden,
            Some(found) => match found[..] {
                [from, to] if from == d_hidden && to > 0 => to,
                _ => return Err(LayoutError::Projection { found, d_hidden }),
            },
        };
        if rows <= d_output {
            return Err(LayoutError::NoInput { found: rows, d_output });
        }
        Ok([rows, d_hidden, d_output])
    }
}

fn gates<const D: usize>(tensor: Tensor<D>) -> [Tensor<D>; 4] {
    tensor.chunk(4, D - 1).try_into().expect("a width of four gates")
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    fn zeros(shape: &[usize]) -> TensorData {
        TensorData::zeros::<f32, _>(shape.to_vec())
    }

    fn error(kernel: &[usize], bias: &[usize], projection: Option<&[usize]>) -> String {
        let (kernel, bias, projection) = (zeros(kernel), zeros(bias), projection.map(zeros));
        let layer = TensorFlowLstm { kernel, bias, projection };
        layer.into_cell(LstmOptions::default(), &test_device()).unwrap_err().to_string()
    }

    #[test]
    fn gates_change_places_and_the_forget_gate_gets_its_one() {
        // Of one input and one cell; the columns are i, j, f, o.
        let layer = TensorFlowLstm {
            kernel: TensorData::from([[1.0f32, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]),
            bias: TensorData::from([0.1f32, 0.2, 0.3, 0.4]),
            projection: None,
        };
        let cell = layer.into_cell(LstmOptions::default(), &test_device()).unwrap();
        let data = |param: &Param<Tensor<2>>| param.val().into_data();
        assert_eq!(data(&cell.weight_input), TensorData::from([[1.0f32, 3.0, 2.0, 4.0]]));
        assert_eq!(data(&cell.weight_hidden), TensorData::from([[5.0f32, 7.0, 6.0, 8.0]]));
        let bias = cell.bias_input.val().into_data();
        assert_eq!(bias, TensorData::from([0.1f32, 1.3, 0.2, 0.4]));
        assert_eq!(cell.bias_hidden.val().into_data(), TensorData::from([0.0f32; 4]));
    }

    #[test]
    fn a_tensor_of_a_wrong_shape_is_named_with_both_shapes() {
        let kernel = "the kernel is [5, 6]: expected [d_input + d_output, 4 · d_hidden]";
        assert_eq!(error(&[5, 6], &[6], None), kernel);
        assert!(error(&[8], &[8], None).starts_with("the kernel is [8]"));
        let bias = "the bias is [4]: expected [8], as wide as the kernel";
        assert_eq!(error(&[5, 8], &[4], None), bias);
        let projection = error(&[5, 8], &[8], Some(&[3, 2]));
        assert!(projection.starts_with("the projection is [3, 2]: expected [2, d_output]"));
        let no_input = "the kernel has 2 rows: expected more than the 2 of the hidden state";
        assert_eq!(error(&[2, 8], &[8], None), no_input);
        assert_eq!(error(&[2, 8], &[8], Some(&[2, 2])), no_input);
    }

    #[test]
    fn a_tensor_that_is_not_of_floats_is_named() {
        let layer = TensorFlowLstm {
            kernel: zeros(&[2, 4]),
            bias: TensorData::from([1i64, 2, 3, 4]),
            projection: None,
        };
        let error = layer.into_cell(LstmOptions::default(), &test_device()).unwrap_err();
        assert_eq!(error, LayoutError::NotFloat { tensor: "bias", found: DType::I64 });
    }
}
