//! Many projects in one host: the crew that drives their main lanes.

mod crew; // many main lanes on a few threads, or in the host's loop

pub use crew::status::{CrewCounters, CrewReport, ProjectState, ProjectStatus};
pub use crew::{Crew, CrewBuilder, CrewError, CrewLeft, CrewTurn, Hosted, LINGER, SPARES, STUCK_AFTER};
