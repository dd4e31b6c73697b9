//! Why nothing could be scored.

/// Why a corpus has no score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// Some segment has no hypothesis, or no references.
    #[error(
        "{hypotheses} hypotheses and the references of {references} segments: expected as many"
    )]
    DifferentLengths {
        /// The number of hypotheses.
        hypotheses: usize,
        /// The number of segments that have references.
        references: usize,
    },
    /// A corpus is empty.
    #[error("the corpus has no segment: expected at least one")]
    NoSegment,
    /// A segment has nothing to be compared with.
    #[error("segment {segment} has no reference: expected at least one, which may be empty")]
    NoReference {
        /// The index of the segment.
        segment: usize,
    },
}
