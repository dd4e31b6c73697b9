//! Books as chapters of sentences, most for training and some for validation.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use emberline_text::documents_of_book;

use crate::datasets;

/// One of so many chapters is for validation.
const VALIDATION: usize = 10;

/// The sentences of a chapter.
pub type Chapter = Vec<String>;

/// The chapters of all books for training, and every tenth for validation. What the SHA-256 of the books must be is
/// written down where it is not known.
///
/// # Errors
/// If a book cannot be read or is another than expected, or there are too few chapters.
pub fn chapters(books: &mut [String], sha256: &mut Option<String>) -> Result<[Vec<Chapter>; 2]> {
    let files: Vec<PathBuf> =
        books.iter_mut().map(|book| datasets::find(book, "txt")).collect::<Result<_>>()?;
    datasets::check(&files.iter().map(PathBuf::as_path).collect::<Vec<&Path>>(), sha256)?;
    let mut chapters = Vec::new();
    for file in &files {
        let book = std::fs::read_to_string(file);
        let book = book.with_context(|| format!("cannot read {} as a text", file.display()))?;
        chapters.extend(documents_of_book(&book));
    }
    ensure!(
        chapters.len() >= VALIDATION,
        "`data.books`: {} chapters, of which every {VALIDATION}th is for validation, are too few",
        chapters.len()
    );
    let is_validation = |index: usize| index % VALIDATION == VALIDATION - 1;
    let (mut training, mut validation) = (Vec::new(), Vec::new());
    for (index, chapter) in chapters.into_iter().enumerate() {
        if is_validation(index) { &mut validation } else { &mut training }.push(chapter);
    }
    Ok([training, validation])
}
