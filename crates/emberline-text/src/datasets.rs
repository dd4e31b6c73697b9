//! Public data sets that are fetched on request and checked. Fetching is not this crate's: it only
//! knows what to fetch and what must arrive.

/// A public file: where it is, and how to know that it arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicDataset {
    /// The name by which it is asked for.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub description: &'static str,
    /// The official address.
    pub url: &'static str,
    /// The name of the file.
    pub file_name: &'static str,
    /// The SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: &'static str,
    /// Its size.
    pub bytes: u64,
}

/// Tiny Shakespeare, on which character models are compared since Karpathy's char-rnn (2015).
pub const TINY_SHAKESPEARE: PublicDataset = PublicDataset {
    name: "tinyshakespeare",
    description: "40 000 lines of Shakespeare's plays, the text of Karpathy's char-rnn",
    url: "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    file_name: "input.txt",
    sha256: "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    bytes: 1_115_394,
};

/// Every public data set.
pub const PUBLIC_DATASETS: &[PublicDataset] = &[TINY_SHAKESPEARE];
