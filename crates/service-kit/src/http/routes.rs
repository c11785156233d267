//! The only way onto the server: a handler together with its description.

use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder};

use crate::openapi::{Operation, Verb};

/// The routes of a process while they are registered, on one worker.
pub struct Routes<'c> {
    config: &'c mut ServiceConfig,
    operations: Vec<(String, Operation)>,
}

/// One path with what its handlers need.
pub struct Place {
    path: String,
    resource: Resource,
    operations: Vec<Operation>,
}

impl<'c> Routes<'c> {
    pub(super) const fn new(config: &'c mut ServiceConfig) -> Self {
        Self {
            config,
            operations: Vec::new(),
        }
    }

    /// Adds a path. Of two that fit a request, the one that was added first answers.
    pub fn add(&mut self, place: Place) {
        let Place {
            path,
            resource,
            operations,
        } = place;
        self.config.service(resource);
        self.operations
            .extend(operations.into_iter().map(|operation| (path.clone(), operation)));
    }

    pub(super) fn operations(&self) -> &[(String, Operation)] {
        &self.operations
    }
}

impl Place {
    /// A path, with names in braces.
    #[must_use]
    pub fn at(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            resource: web::resource(path),
            operations: Vec::new(),
        }
    }

    /// What the handlers of this path find as `web::Data`.
    #[must_use]
    pub fn data<T: 'static>(mut self, data: web::Data<T>) -> Self {
        self.resource = self.resource.app_data(data);
        self
    }

    /// Handles a verb as described; other verbs get 405.
    #[must_use]
    pub fn on<F, Args>(mut self, operation: Operation, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let route = match operation.verb() {
            Verb::Get => web::get(),
            Verb::Post => web::post(),
            Verb::Put => web::put(),
        };
        self.resource = self.resource.route(route.to(handler));
        self.operations.push(operation);
        self
    }
}
