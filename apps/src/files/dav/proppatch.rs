//! PROPPATCH: sets and removes properties, all or none. Live properties take effect, the others are
//! stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::StatusCode;

use super::call::Call;
use super::live::{self, Patch, Setting};
use super::problem::{Outcome, Problem, XML_HEAD};
use super::xml::{self, Name};
use super::{Dav, Effort, xml_response};
use crate::common::https::body::Body;
use crate::common::https::request_body::RequestBody;
use crate::files::meta::claims::Area;
use crate::files::meta::locks::Change;
use crate::files::share::Found;
use crate::files::share::attributes::{Attributes, Before};

impl Dav {
    pub(super) async fn proppatch(&self, call: Call, body: &mut RequestBody) -> Outcome {
        let document = body.read(xml::MOST_BYTES).await?;
        // Parsing a large document takes long, so it runs on the blocking pool.
        let parse = move || Changes::of(&xml::parse(&document)?);
        let changes = self.handle.offload(parse).await??;
        let (areas, user) = (vec![Area::one(&call.path)], Arc::clone(&call.client.user));
        let reads_contents = changes.attributes.checksum.is_some();
        let patch = move |dav: &Dav, locks: &Arc<_>| {
            let found = super::tree::shown(&dav.share, &call)?;
            call.check(&dav.share, locks, Some(&found), &[Change::Contents(call.path.clone())])?;
            let mut outcomes = changes.outcomes(&found);
            let mut changed = false;
            if outcomes.values().all(|status| *status == StatusCode::OK) {
                let status = changes.carry_out(dav, &call)?;
                changed = status == StatusCode::OK && !changes.dead.is_empty();
                outcomes.values_mut().for_each(|outcome| *outcome = status);
            }
            Ok((answer(&call, found.is_folder(), &outcomes), changed))
        };
        // The check of a checksum reads the whole file.
        let effort = if reads_contents { self.large_effort() } else { Effort::Any };
        self.change_with(effort, &user, areas, patch, |dav, (text, changed)| async move {
            if changed {
                dav.meta.changed().await?;
            }
            Ok(xml_response(StatusCode::MULTI_STATUS, Body::text(text)))
        })
        .await
    }
}

/// The properties to set and to remove.
#[derive(Default)]
pub(super) struct Changes {
    /// The changes of properties without an effect, in the order of the request.
    dead: Vec<(Name, Option<String>)>,
    attributes: Attributes,
    /// The treatment of each property. If a property is named twice, the last one counts.
    patches: BTreeMap<Name, Patch>,
}

impl Changes {
    pub(super) fn of(document: &xml::Element) -> Result<Changes, Problem> {
        let bad =
            || Problem::Told(StatusCode::BAD_REQUEST, "the body is not a propertyupdate document");
        if !document.name.is_dav("propertyupdate") {
            return Err(bad());
        }
        let mut changes = Changes::default();
        for part in document.elements() {
            let sets = match &part.name {
                name if name.is_dav("set") => true,
                name if name.is_dav("remove") => false,
                // Unknown elements are ignored (RFC 4918, section 17).
                _ => continue,
            };
            let properties = part.child("prop").ok_or_else(bad)?;
            for property in properties.elements() {
                changes.add(property, sets);
            }
        }
        if changes.patches.is_empty() { Err(bad()) } else { Ok(changes) }
    }

    fn add(&mut self, property: &xml::Element, sets: bool) {
        let mut patch = live::patch(&property.name, sets.then_some(property));
        // Two properties can name one attribute, and cannot set it to different values.
        let attributes = &self.attributes;
        let is_other = match &patch {
            Patch::Set(Setting::Modified(time)) => attributes.modified.is_some_and(|t| t != *time),
            Patch::Set(Setting::Accessed(time)) => attributes.accessed.is_some_and(|t| t != *time),
            _ => false,
        };
        if is_other {
            patch = Patch::Refuse(StatusCode::CONFLICT);
        }
        match &patch {
            Patch::Keep => {
                self.dead.push((property.name.clone(), sets.then(|| property.to_string())));
            }
            Patch::Set(Setting::Modified(time)) => self.attributes.modified = Some(*time),
            Patch::Set(Setting::Accessed(time)) => self.attributes.accessed = Some(*time),
            Patch::Set(Setting::Executable(is)) => self.attributes.executable = Some(*is),
            Patch::Set(Setting::Checksum(sum)) => self.attributes.checksum = Some(sum.clone()),
            Patch::Refuse(_) => {}
        }
        // A property that was refused once stays refused.
        let known = self.patches.entry(property.name.clone()).or_insert(Patch::Keep);
        if !matches!(known, Patch::Refuse(_)) {
            *known = patch;
        }
    }

    /// Returns the outcome of each property. If one is refused, none is changed, and the others
    /// fail as dependents.
    fn outcomes(&self, found: &Found) -> BTreeMap<Name, StatusCode> {
        let outcome = |patch: &Patch| match patch {
            Patch::Refuse(status) => *status,
            // A folder has neither a checksum nor this meaning of `executable`.
            Patch::Set(Setting::Executable(_) | Setting::Checksum(_)) if found.is_folder() => {
                StatusCode::CONFLICT
            }
            _ => StatusCode::OK,
        };
        let mut all: BTreeMap<Name, StatusCode> =
            self.patches.iter().map(|(name, patch)| (name.clone(), outcome(patch))).collect();
        if all.values().any(|status| *status != StatusCode::OK) {
            let others = all.values_mut().filter(|status| **status == StatusCode::OK);
            others.for_each(|status| *status = StatusCode::FAILED_DEPENDENCY);
        }
        all
    }

    /// Carries out all changes, or none.
    fn carry_out(&self, dav: &Dav, call: &Call) -> Result<StatusCode, Problem> {
        let before = match self.attributes == Attributes::default() {
            true => None,
            false => match dav.share.set_attributes(&call.path, &self.attributes)? {
                // The file cannot have these attributes.
                None => return Ok(StatusCode::CONFLICT),
                before => before,
            },
        };
        if self.dead.is_empty() {
            return Ok(StatusCode::OK);
        }
        let Err(error) = dav.meta.store().patch(&call.path, &self.dead) else {
            return Ok(StatusCode::OK);
        };
        before.iter().for_each(Before::restore);
        let problem = Problem::from(error);
        match problem.status() {
            StatusCode::INSUFFICIENT_STORAGE => Ok(StatusCode::INSUFFICIENT_STORAGE),
            _ => Err(problem),
        }
    }
}

/// Returns the response document: each property with its outcome.
fn answer(call: &Call, is_folder: bool, outcomes: &BTreeMap<Name, StatusCode>) -> String {
    let mut out = format!("{XML_HEAD}<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>");
    xml::write_text(&mut out, &call.path.href(is_folder));
    out.push_str("</D:href>");
    let statuses: BTreeSet<StatusCode> = outcomes.values().copied().collect();
    for status in statuses {
        out.push_str("<D:propstat><D:prop>");
        let names = outcomes.iter().filter(|(_, one)| **one == status);
        names.for_each(|(name, _)| xml::write_empty(&mut out, name));
        let condition = match status {
            StatusCode::FORBIDDEN => "<D:error><D:cannot-modify-protected-property/></D:error>",
            _ => "",
        };
        out.push_str(&format!(
            "</D:prop><D:status>HTTP/1.1 {status}</D:status>{condition}</D:propstat>"
        ));
    }
    out.push_str("</D:response></D:multistatus>\n");
    out
}
