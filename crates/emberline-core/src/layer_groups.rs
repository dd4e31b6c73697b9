//! The layers of a model as groups of parameters, from the input to the output.
//!
//! Groups go by paths, and the ids of Burn do not enter: loading may change an id, but no path.

use burn::module::Module;

/// A part of a model that is trained or frozen as one: embeddings and what normalises them, a layer, a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerGroup {
    /// What it is called in tables.
    pub name: String,
    /// The modules it consists of, by their paths; all that is inside them belongs to it.
    pub modules: Vec<String>,
    /// Whether it is made anew for a task, on top of what was trained before.
    pub is_head: bool,
}

/// A module that knows its layers, one without tokens too.
///
/// Generic over it: the plans of fine-tuning, by which lower layers are frozen or learn more slowly. Every model of the
/// zoo implements it. The law is [`laws::layer_groups`](crate::laws::layer_groups).
pub trait LayerGroups: Module {
    /// The groups, the one nearest to the input first.
    fn layer_groups(&self) -> Vec<LayerGroup>;
}

impl LayerGroup {
    /// A part of a model that a task makes use of.
    pub fn body(name: impl Into<String>, modules: &[&str]) -> Self {
        let modules = modules.iter().map(|module| module.to_string()).collect();
        Self { name: name.into(), modules, is_head: false }
    }

    /// What a task puts on top.
    pub fn head(modules: &[&str]) -> Self {
        Self { is_head: true, ..Self::body("head", modules) }
    }

    /// A group for each element of the list `field`, called as its path.
    pub fn layers(field: &str, n_layers: usize) -> impl Iterator<Item = Self> {
        (0..n_layers).map(move |layer| {
            let path = format!("{field}.{layer}");
            Self::body(path.clone(), &[&path])
        })
    }

    /// The group as a part of a larger model, in which its own is the field `field`.
    #[must_use]
    pub fn within(mut self, field: &str) -> Self {
        self.modules.iter_mut().for_each(|module| *module = format!("{field}.{module}"));
        self
    }

    /// Whether a path is that of one of its modules, or inside one.
    pub fn holds(&self, path: &str) -> bool {
        self.modules.iter().any(|module| is_within(path, module))
    }
}

/// Whether a path is that of a module, or of something inside it.
pub fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_holds_what_is_inside_its_modules_and_no_name_that_only_begins_alike() {
        let group = LayerGroup::layers("blocks", 2).last().unwrap().within("bert");
        assert_eq!((group.name.as_str(), group.is_head), ("blocks.1", false));
        assert!(
            group.holds("bert.blocks.1") && group.holds("bert.blocks.1.attention.query.weight")
        );
        assert!(!group.holds("bert.blocks.10.attention.query.weight"));
        assert!(!group.holds("blocks.1.attention.query.weight"));
    }
}
