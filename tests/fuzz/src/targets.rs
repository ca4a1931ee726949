//! All targets, as a table of contents.

mod arguments;
mod coalesce;
mod command;
mod domain_event;
mod image;
mod mirror;
mod operations;
mod pipeline;
mod record;
mod ring;
mod terminal;
mod translate;
mod workspace;
mod worktree;

/// A promise, as a function of bytes that panics when they break it.
pub struct Target {
    /// As `cargo fuzz` knows it.
    pub name: &'static str,
    /// The promise.
    pub check: fn(&[u8]),
}

/// All there are.
pub const TARGETS: &[Target] = &[
    // What others write.
    Target { name: "terminal", check: terminal::check },
    Target { name: "translate", check: translate::check },
    Target { name: "mirror", check: mirror::check },
    Target { name: "worktree", check: worktree::check },
    Target { name: "arguments", check: arguments::check },
    Target { name: "command", check: command::check },
    Target { name: "record", check: record::check },
    Target { name: "image", check: image::check },
    Target { name: "domain_event", check: domain_event::check },
    // What the engine does with it, one thread at a time.
    Target { name: "ring", check: ring::check },
    Target { name: "coalesce", check: coalesce::check },
    Target { name: "operations", check: operations::check },
    Target { name: "pipeline", check: pipeline::check },
    Target { name: "workspace", check: workspace::check },
];

/// The target of that name.
///
/// # Panics
/// When there is none.
pub fn target(name: &str) -> &'static Target {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => target,
        None => panic!("no target is called {name}"),
    }
}
