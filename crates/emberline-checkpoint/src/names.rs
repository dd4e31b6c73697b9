//! Where a parameter is in a file.

/// The name and layout of a parameter in a file; a weight table is a function from the path of a
/// parameter to this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The name in the file.
    pub name: String,
    /// Whether the matrix in the file is the transpose of the parameter. PyTorch's `Linear` stores
    /// `[d_out, d_in]`, where ours is `[d_in, d_out]`.
    pub transposed: bool,
}

impl Stored {
    /// As it is, under `name`. `&Stored::same` itself is the table of files that use our own paths.
    pub fn same(name: &str) -> Self {
        Self { name: name.to_string(), transposed: false }
    }

    /// As the transpose, under `name`.
    pub fn transposed(name: &str) -> Self {
        Self { name: name.to_string(), transposed: true }
    }
}
