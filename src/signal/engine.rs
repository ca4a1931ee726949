//! The engine's diagnostics as signals.

use crate::event::OperationId;
use crate::observe::diagnostic::Diagnostic;
use crate::signal::{Cause, Signal};

/// What a pipeline finds out of the ordinary, once it is told to [publish](crate::Handle::publish_diagnostics) that.
impl Signal for Diagnostic {
    const FAMILY: &'static str = "diagnostics";
    const CAPACITY: usize = 1024;
}

/// What a diagnostic is about.
pub(crate) fn cause_of(diagnostic: &Diagnostic) -> Cause {
    let of = |id: OperationId| Cause::operation(id);
    match diagnostic {
        Diagnostic::Sealed { operation, .. }
        | Diagnostic::OperationGap { operation, .. }
        | Diagnostic::OperationRepeat { operation, .. }
        | Diagnostic::OperationForgotten { operation } => of(*operation),
        Diagnostic::Rewound(rewind) => of(rewind.operation),
        _ => Cause::NONE,
    }
}
