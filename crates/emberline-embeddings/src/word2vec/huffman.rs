//! The tree of hierarchical softmax (Morin and Bengio, 2005), with Huffman's codes: the more often a word comes, the
//! fewer decisions lead to it.

/// The way from the root to every word.
#[derive(Clone, Debug)]
pub(super) struct Huffman {
    steps: Vec<Step>,
    /// Where the way of each word ends in `steps`.
    ends: Vec<usize>,
}

/// A decision on the way to a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The inner node at which it is taken: a row of the outputs, of `vocab_size - 1`.
    pub(super) node: u32,
    /// The bit of the code: whether it is the branch of the larger count.
    pub(super) bit: bool,
}

impl Huffman {
    /// The tree for counts that do not rise; where two are equal it is the one of the C program.
    pub(super) fn new(counts: &[u64]) -> Self {
        let vocab_size = counts.len();
        let n_nodes = (2 * vocab_size).saturating_sub(1);
        let mut all = counts.to_vec();
        let (mut parent, mut bit) = (vec![0; n_nodes], vec![false; n_nodes]);
        // Leaves are taken from the end, nodes in the order in which they are made, which is that of their counts.
        let (mut leaf, mut node) = (vocab_size, vocab_size);
        for made in vocab_size..n_nodes {
            let mut smallest = || {
                if leaf > 0 && all.get(node).is_none_or(|count| all[leaf - 1] < *count) {
                    leaf -= 1;
                    leaf
                } else {
                    node += 1;
                    node - 1
                }
            };
            let (first, second) = (smallest(), smallest());
            all.push(all[first] + all[second]);
            (parent[first], parent[second]) = (made, made);
            bit[second] = true;
        }
        let (mut steps, mut ends) = (Vec::new(), Vec::with_capacity(vocab_size));
        for word in 0..vocab_size {
            let start = steps.len();
            let mut at = word;
            while at + 1 < n_nodes {
                steps.push(Step { node: (parent[at] - vocab_size) as u32, bit: bit[at] });
                at = parent[at];
            }
            steps[start..].reverse();
            ends.push(steps.len());
        }
        Self { steps, ends }
    }

    /// The decisions from the root to a word.
    #[inline(always)]
    pub(super) fn path(&self, word: usize) -> &[Step] {
        let start = word.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.steps[start..self.ends[word]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(tree: &Huffman, word: usize) -> String {
        tree.path(word).iter().map(|step| if step.bit { '1' } else { '0' }).collect()
    }

    #[test]
    fn the_tree_of_four_words_is_the_one_on_paper() {
        // 1 + 2 = 3 (node 0), 3 + 4 = 7 (node 1), 7 + 8 = 15 (node 2, the root).
        let tree = Huffman::new(&[8, 4, 2, 1]);
        assert_eq!([0, 1, 2, 3].map(|word| code(&tree, word)), ["1", "01", "001", "000"]);
        assert_eq!(tree.path(3).iter().map(|step| step.node).collect::<Vec<_>>(), [2, 1, 0]);
    }

    #[test]
    fn no_code_begins_another_and_together_they_fill_the_tree() {
        let counts: Vec<u64> = (1..200).map(|rank| 5 + 10_000 / rank).collect();
        let tree = Huffman::new(&counts);
        let codes: Vec<String> = (0..counts.len()).map(|word| code(&tree, word)).collect();
        for (index, one) in codes.iter().enumerate() {
            assert!(codes[index + 1..].iter().all(|o| !o.starts_with(one) && !one.starts_with(o)));
        }
        let filled: f64 = codes.iter().map(|code| 0.5f64.powi(code.len() as i32)).sum();
        assert_eq!(filled, 1.0);
    }

    #[test]
    fn no_code_for_the_same_counts_is_shorter() {
        // By Kraft's inequality codes of these lengths exist; the best total is the sum over the merges.
        let counts = [50u64, 20, 15, 10, 5];
        let tree = Huffman::new(&counts);
        let total: u64 = (0..5).map(|word| counts[word] * tree.path(word).len() as u64).sum();
        assert_eq!(total, 15 + 30 + 50 + 100);
    }

    #[test]
    fn one_word_takes_no_decision() {
        assert!(Huffman::new(&[3]).path(0).is_empty());
    }
}
