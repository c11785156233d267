//! Objects by id, in the order they were made (lists show the newest first).

use std::collections::HashMap;

/// A table of one kind of object.
#[derive(Debug)]
pub(crate) struct Store<T> {
    by_id: HashMap<String, T>,
    order: Vec<String>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            order: Vec::new(),
        }
    }
}

impl<T> Store<T> {
    pub(crate) fn insert(&mut self, id: &str, object: T) {
        if self.by_id.insert(id.to_owned(), object).is_none() {
            self.order.push(id.to_owned());
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.by_id.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.by_id.get_mut(id)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<T> {
        self.order.retain(|one| one != id);
        self.by_id.remove(id)
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &T)> {
        self.order
            .iter()
            .filter_map(|id| Some((id.as_str(), self.by_id.get(id)?)))
    }
}
