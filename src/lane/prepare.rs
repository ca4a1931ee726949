//! What a lane does to an event on the thread that pushes, before it is stamped: it is enriched, its context filled in, its class asked
//! for.
//!
//! All of it looks at one and the same snapshot, which is the newest as the event is prepared; in a batch, as its run of events begins. It is
//! loaded once for each publication at most, not once for each who asks: to count a snapshot's readers takes its line from every other
//! core, and its content comes from the main lane's.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::core::let_go;
use crate::event::{Class, Event, Phase};
use crate::facets::Facets;
use crate::hub::Hub;
use crate::lane::Item;
use crate::main_lane::reduce::Reducer;
use crate::observe::counters::LaneCounts;
use crate::origin::Origin;
use crate::snapshot::{CachedReader, Reader};
use crate::sync::Arc;

type EventOf<S> = <S as Reducer>::Event;
type FacetsOf<S> = <EventOf<S> as Event>::Facets;
type ClassOf<S> = Class<<EventOf<S> as Event>::Key>;

/// What is done to the events of a lane, whatever the state is called. Lanes that do nothing have none.
pub(crate) trait Prepare<E: Event>: Send {
    /// In place, and in its slot where that is known: to move an event that was written a moment ago costs more than to
    /// write it.
    ///
    /// `renew`: with the newest state. Otherwise with the one of last time, as events of one run have it.
    fn prepare(&mut self, item: &mut Item<E>, renew: bool) -> Class<E::Key>;
}

/// Completes an event.
pub(crate) type Enricher<S> = Box<dyn FnMut(&mut EventOf<S>, &mut FacetsOf<S>) + Send>;

/// Says what class an event is of.
type Rule<S> = Box<dyn FnMut(&EventOf<S>) -> ClassOf<S> + Send>;
type RuleByState<S> = Box<dyn FnMut(&EventOf<S>, &S) -> ClassOf<S> + Send>;

/// In whose hands the class of an event is.
pub(crate) enum Classifier<S: Reducer> {
    Event,
    Rule(Rule<S>),
    ByState(RuleByState<S>),
}

/// What a lane was set up to do.
pub(crate) struct Preparing<S: Reducer> {
    enrich: Option<Enricher<S>>,
    defaults: Option<FacetsOf<S>>,
    classify: Classifier<S>,
    /// Who the lane's events are about, unless they say so themselves.
    origin: Origin,
    /// Only where somebody asks it.
    newest: Option<CachedReader<S>>,
    counts: Arc<LaneCounts>,
}

impl<S: Reducer> Preparing<S> {
    /// `None` when there is nothing to do.
    pub(crate) fn of_lane(
        hub: &Hub<S>,
        origin: Origin,
        defaults: Option<FacetsOf<S>>,
        enrich: Option<Enricher<S>>,
        classify: Classifier<S>,
        counts: Arc<LaneCounts>,
    ) -> Option<Box<dyn Prepare<EventOf<S>>>> {
        let asks = !FacetsOf::<S>::NONE || matches!(classify, Classifier::ByState(_));
        if !asks && enrich.is_none() && matches!(classify, Classifier::Event) {
            return None;
        }
        let newest = asks.then(|| Reader::new(hub.published.clone(), hub.core.clone()).cached());
        Some(Box::new(Self { enrich, defaults, classify, origin, newest, counts }))
    }
}

/// Where in its preparation an event is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Enrich,
    Fill,
    Classify,
}

impl<S: Reducer> Prepare<EventOf<S>> for Preparing<S> {
    fn prepare(&mut self, item: &mut Item<EventOf<S>>, renew: bool) -> ClassOf<S> {
        if renew && let Some(newest) = &mut self.newest {
            newest.load();
        }
        let mut step = Step::Enrich;
        // Around all of it: to begin to catch is not free.
        match catch_unwind(AssertUnwindSafe(|| self.go_on(item, &mut step))) {
            Ok(class) => class,
            Err(panic) => self.after_a_panic(item, step, panic),
        }
    }
}

impl<S: Reducer> Preparing<S> {
    /// From this step on.
    #[inline(always)]
    fn go_on(&mut self, Item { facets, event }: &mut Item<EventOf<S>>, step: &mut Step) -> ClassOf<S> {
        let Self { enrich, defaults, classify, origin, newest, .. } = self;
        if let Some(enrich) = enrich
            && *step == Step::Enrich
        {
            enrich(event, facets);
        }
        let newest = newest.as_ref().map(CachedReader::held);
        if !FacetsOf::<S>::NONE && *step != Step::Classify {
            *step = Step::Fill;
            if let Some(defaults) = defaults {
                facets.fill(defaults);
            }
            let about = || event.origin().unwrap_or(*origin);
            if let Some(known) = newest.and_then(|state| state.facets_of(about(), event)) {
                facets.fill(known);
            }
        }
        *step = Step::Classify;
        let class = match (classify, newest) {
            (Classifier::Rule(classify), _) => classify(event),
            (Classifier::ByState(classify), Some(state)) => classify(event, state),
            (Classifier::Event | Classifier::ByState(_), _) => event.class(),
        };
        class_of(event, class)
    }

    /// Each step is the host's code, and a panic in one takes nothing from the others; but an event without a class is none.
    #[cold]
    fn after_a_panic(
        &mut self,
        item: &mut Item<EventOf<S>>,
        mut step: Step,
        mut panic: Box<dyn Any + Send>,
    ) -> ClassOf<S> {
        loop {
            let next = match step {
                Step::Enrich => Step::Fill,
                Step::Fill => Step::Classify,
                Step::Classify => resume_unwind(panic),
            };
            let_go(panic);
            self.counts.producer.enricher_panics.add(1);
            step = next;
            match catch_unwind(AssertUnwindSafe(|| self.go_on(item, &mut step))) {
                Ok(class) => return class,
                Err(another) => panic = another,
            }
        }
    }
}

/// The end of an operation is critical, whatever the event's class says.
#[inline]
pub(crate) fn class_of<E: Event>(event: &E, class: Class<E::Key>) -> Class<E::Key> {
    match event.operation() {
        Some(operation) if operation.phase == Phase::Terminal => Class::Critical,
        _ => class,
    }
}
