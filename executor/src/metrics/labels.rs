//! Labels: names for kinds of colors and domains.

use crate::sync::{Arc, PoisonError, RwLock};

/// The largest number of labels that a runtime keeps.
const MOST: usize = 255;

/// The names of a runtime's labels. Label 0 means "no label"; label *n* is the name at index *n -
/// 1*.
#[derive(Default)]
pub(crate) struct Labels(RwLock<Vec<Arc<str>>>);

impl Labels {
    /// Returns the number of a label, and adds the name if it is new. Returns 0 if the name is
    /// empty, or if it is new and [`MOST`] names are in use.
    pub(crate) fn intern(&self, name: &str) -> u32 {
        // In a text format an empty label cannot be told from no label.
        if name.is_empty() {
            return 0;
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|n| **n == *name);
        let index = known.unwrap_or_else(|| {
            if names.len() < MOST {
                names.push(name.into());
                names.len() - 1
            } else {
                usize::MAX
            }
        });
        index.wrapping_add(1) as u32
    }

    pub(crate) fn name(&self, label: u32) -> Option<Arc<str>> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.get((label as usize).checked_sub(1)?).cloned()
    }

    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
