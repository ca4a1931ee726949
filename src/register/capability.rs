//! What an interface asks of its providers, what a provider says of itself, and where the two do not fit.

use std::borrow::Cow;
use std::fmt;

/// Something that providers of an interface can do, fully, partly or not at all. Compared by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(&'static str);

impl Capability {
    /// A capability, by its name within the interface.
    pub const fn new(name: &'static str) -> Self {
        Capability(name)
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// How far a provider supports a capability. Ordered from less to more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Support {
    /// Not at all.
    None,
    /// In part.
    Partial {
        /// What is missing, for people.
        missing: Cow<'static, str>,
    },
    /// In full.
    Full,
}

impl Support {
    /// Partial support.
    pub fn partial(missing: impl Into<Cow<'static, str>>) -> Self {
        Support::Partial { missing: missing.into() }
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Support::None => f.write_str("no"),
            Support::Partial { missing } => write!(f, "in part, without {missing}"),
            Support::Full => f.write_str("yes"),
        }
    }
}

/// A capability that an interface names, and how much it wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    /// Which.
    pub capability: Capability,
    /// How much.
    pub level: Level,
}

/// How much an interface wants a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing is amiss without it.
    Optional,
    /// A provider that has less than all of it is registered, and listed as a mismatch.
    Expected,
    /// A provider without it is refused; one that has a part of it is registered, and listed as a mismatch.
    Required,
}

impl Need {
    /// A provider without it is refused.
    pub const fn required(capability: Capability) -> Self {
        Need { capability, level: Level::Required }
    }

    /// A provider without it is listed.
    pub const fn expected(capability: Capability) -> Self {
        Need { capability, level: Level::Expected }
    }

    /// A provider says whether it has it.
    pub const fn optional(capability: Capability) -> Self {
        Need { capability, level: Level::Optional }
    }
}

/// What a provider says of itself: one line for each capability that its interface names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    lines: Vec<(Capability, Support)>,
}

impl Declaration {
    /// Nothing said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how far a capability is supported.
    pub fn line(mut self, capability: Capability, support: Support) -> Self {
        self.lines.push((capability, support));
        self
    }

    /// Supports it fully.
    pub fn full(self, capability: Capability) -> Self {
        self.line(capability, Support::Full)
    }

    /// Supports it in part.
    pub fn partial(self, capability: Capability, missing: impl Into<Cow<'static, str>>) -> Self {
        self.line(capability, Support::partial(missing))
    }

    /// Does not support it.
    pub fn none(self, capability: Capability) -> Self {
        self.line(capability, Support::None)
    }

    /// What it says, in the order in which it was said.
    pub fn lines(&self) -> &[(Capability, Support)] {
        &self.lines
    }

    /// How far it supports a capability. Of what was said twice the lesser counts, and what was not said is not supported.
    pub fn support(&self, capability: Capability) -> &Support {
        self.said(capability).min().unwrap_or(&Support::None)
    }

    /// Compares it with what an interface needs.
    pub(super) fn check(&self, needs: &[Need]) -> Vec<(Capability, Problem)> {
        let mut problems = Vec::new();
        for Need { capability, level } in needs.iter().copied() {
            match (self.said(capability).count(), self.support(capability)) {
                (0, _) => problems.push((capability, Problem::Undeclared { level })),
                (_, Support::None) if level > Level::Optional => {
                    problems.push((capability, Problem::Unsupported { level }));
                }
                (_, Support::Partial { missing }) if level > Level::Optional => {
                    problems.push((capability, Problem::InPart { level, missing: missing.clone() }));
                }
                _ => {}
            }
        }
        for (at, (capability, _)) in self.lines.iter().enumerate() {
            let before = self.lines[..at].iter().filter(|(other, _)| other == capability).count();
            if before == 0 && !needs.iter().any(|need| need.capability == *capability) {
                problems.push((*capability, Problem::Unknown));
            }
            if before == 1 {
                problems.push((*capability, Problem::Twice));
            }
        }
        problems
    }

    fn said(&self, capability: Capability) -> impl Iterator<Item = &Support> {
        self.lines.iter().filter(move |(said, _)| *said == capability).map(|(_, support)| support)
    }
}

/// Where a declaration does not fit its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The interface names no such capability.
    Unknown,
    /// Nothing is said of it, so it counts as not supported.
    Undeclared {
        /// How much it is wanted.
        level: Level,
    },
    /// It is not supported.
    Unsupported {
        /// How much it is wanted.
        level: Level,
    },
    /// It is supported in part.
    InPart {
        /// How much it is wanted.
        level: Level,
        /// What is missing.
        missing: Cow<'static, str>,
    },
    /// It is declared more than once; the least counts.
    Twice,
}

impl Problem {
    /// Whether a provider is refused for it.
    pub fn refuses(&self) -> bool {
        match self {
            Problem::Undeclared { level } | Problem::Unsupported { level } => *level == Level::Required,
            Problem::Unknown | Problem::InPart { .. } | Problem::Twice => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = |level: &Level| match level {
            Level::Required => "is required",
            Level::Expected => "is expected",
            Level::Optional => "can be left out only by saying so",
        };
        match self {
            Problem::Unknown => f.write_str("is not known to the interface"),
            Problem::Undeclared { level } => write!(f, "{}, and not declared", wanted(level)),
            Problem::Unsupported { level } => write!(f, "{}, and not supported", wanted(level)),
            Problem::InPart { level, missing } => write!(f, "{}, and supported without {missing}", wanted(level)),
            Problem::Twice => f.write_str("is declared more than once; the least counts"),
        }
    }
}

/// A declaration that does not fit: a diagnostic, of which a registry keeps a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch<K> {
    /// Which interface.
    pub interface: &'static str,
    /// The provider's key.
    pub key: K,
    /// The provider.
    pub provider: &'static str,
    /// Which capability.
    pub capability: Capability,
    /// What does not fit.
    pub problem: Problem,
    /// True when the provider was not registered.
    pub refused: bool,
}

impl<K> Mismatch<K> {
    pub(super) fn with_key<L>(self, with: impl FnOnce(K) -> L) -> Mismatch<L> {
        let Mismatch { interface, key, provider, capability, problem, refused } = self;
        Mismatch { interface, key: with(key), provider, capability, problem, refused }
    }
}

impl<K: fmt::Display> fmt::Display for Mismatch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { interface, key, provider, capability, problem, refused } = self;
        write!(f, "{interface}@{provider} for {key}: `{capability}` {problem}")?;
        if *refused { f.write_str("; it was refused") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: Capability = Capability::new("status");
    const DIFF: Capability = Capability::new("diff");
    const BLAME: Capability = Capability::new("blame");
    const OTHER: Capability = Capability::new("other");
    const NEEDS: &[Need] = &[Need::required(STATUS), Need::expected(DIFF), Need::optional(BLAME)];

    fn problems(declaration: Declaration) -> Vec<(Capability, Problem)> {
        declaration.check(NEEDS)
    }

    #[test]
    fn a_declaration_that_says_all_fits() {
        assert_eq!(problems(Declaration::new().full(STATUS).full(DIFF).none(BLAME)), []);
        assert_eq!(problems(Declaration::new().full(BLAME).full(DIFF).full(STATUS)), []);
        assert_eq!(problems(Declaration::new().full(STATUS).full(DIFF).partial(BLAME, "renames")), []);
    }

    #[test]
    fn what_is_not_said_is_amiss_and_not_supported() {
        let silent = Declaration::new();
        let undeclared = |level| Problem::Undeclared { level };
        let expected = [
            (STATUS, undeclared(Level::Required)),
            (DIFF, undeclared(Level::Expected)),
            (BLAME, undeclared(Level::Optional)),
        ];
        assert_eq!(*silent.support(STATUS), Support::None);
        assert_eq!(problems(silent), expected);
        assert_eq!(expected.map(|(_, problem)| problem.refuses()), [true, false, false]);
    }

    #[test]
    fn less_than_what_is_wanted_is_amiss_and_none_of_what_is_required_refuses() {
        let none = problems(Declaration::new().none(STATUS).none(DIFF).none(BLAME));
        let unsupported = |level| Problem::Unsupported { level };
        assert_eq!(none, [(STATUS, unsupported(Level::Required)), (DIFF, unsupported(Level::Expected))]);
        assert_eq!(none.iter().map(|(_, problem)| problem.refuses()).collect::<Vec<_>>(), [true, false]);
        let part = problems(Declaration::new().partial(STATUS, "x").partial(DIFF, "y").partial(BLAME, "z"));
        let in_part = |level, missing: &'static str| Problem::InPart { level, missing: missing.into() };
        assert_eq!(part, [(STATUS, in_part(Level::Required, "x")), (DIFF, in_part(Level::Expected, "y"))]);
        assert!(part.iter().all(|(_, problem)| !problem.refuses()));
    }

    #[test]
    fn what_the_interface_does_not_name_is_unknown_and_what_is_said_twice_is_the_lesser() {
        let declaration = Declaration::new().full(STATUS).none(STATUS).full(STATUS).full(DIFF).none(BLAME).full(OTHER);
        assert_eq!(*declaration.support(STATUS), Support::None);
        let unsupported = Problem::Unsupported { level: Level::Required };
        assert_eq!(problems(declaration), [(STATUS, unsupported), (STATUS, Problem::Twice), (OTHER, Problem::Unknown)]);
        let twice = Declaration::new().full(STATUS).full(DIFF).none(BLAME).full(OTHER).full(OTHER);
        assert_eq!(problems(twice), [(OTHER, Problem::Unknown), (OTHER, Problem::Twice)]);
        assert!(Support::None < Support::partial("a") && Support::partial("z") < Support::Full);
    }

    #[test]
    fn a_mismatch_is_a_sentence() {
        let problem = Problem::Unsupported { level: Level::Required };
        let mismatch = Mismatch {
            interface: "version-control",
            key: 3,
            provider: "git",
            capability: STATUS,
            problem,
            refused: true,
        };
        let expected = "version-control@git for 3: `status` is required, and not supported; it was refused";
        assert_eq!(mismatch.to_string(), expected);
        let listed = Mismatch { problem: Problem::Twice, refused: false, ..mismatch }.with_key(|key| key + 1);
        assert!(listed.to_string().ends_with("for 4: `status` is declared more than once; the least counts"));
    }
}
