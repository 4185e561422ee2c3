//! PROPPATCH: dead properties are set and removed, all or none.

use std::sync::Arc;

use http::StatusCode;

use super::body::Body;
use super::call::Call;
use super::problem::{Outcome, Problem, XML_HEAD};
use super::propfind::is_live;
use super::request_body::RequestBody;
use super::xml::{self, Name};
use super::{Dav, xml_response};
use crate::files::meta::claims::Area;
use crate::files::meta::locks::Change;

impl Dav {
    pub(super) async fn proppatch(&self, call: Call, body: &mut RequestBody) -> Outcome {
        let document = body.read(xml::MOST_BYTES).await?;
        // A large one takes a while.
        let parse = move || changes(&xml::parse(&document)?);
        let changes = self.handle.offload(parse).await??;
        let (areas, user) = (vec![Area::one(&call.path)], Arc::clone(&call.client.user));
        let patch = move |dav: &Dav, locks: &Arc<_>| {
            let found = super::tree::shown(&dav.share, &call.path)?;
            call.check(&dav.share, locks, Some(&found), &[Change::Contents(call.path.clone())])?;
            let is_protected = |(name, _): &(Name, _)| is_live(name);
            let mut outcome = StatusCode::OK;
            if changes.iter().any(is_protected) {
                outcome = StatusCode::FORBIDDEN;
            } else if let Err(error) = dav.meta.store().patch(&call.path, &changes) {
                let problem = Problem::from(error);
                outcome = problem.status();
                if outcome != StatusCode::INSUFFICIENT_STORAGE {
                    return Err(problem);
                }
            }
            Ok((answer(&call, found.is_folder(), &changes, outcome), outcome == StatusCode::OK))
        };
        self.change(&user, areas, patch, |dav, (text, changed)| async move {
            if changed {
                dav.meta.changed().await?;
            }
            Ok(xml_response(StatusCode::MULTI_STATUS, Body::text(text)))
        })
        .await
    }
}

/// What is to be set, and what removed, in its order.
fn changes(document: &xml::Element) -> Result<Vec<(Name, Option<String>)>, Problem> {
    let bad = || Problem::Told(StatusCode::BAD_REQUEST, "the document is no propertyupdate");
    if !document.name.is_dav("propertyupdate") {
        return Err(bad());
    }
    let mut changes = Vec::new();
    for part in document.elements() {
        let sets = match &part.name {
            name if name.is_dav("set") => true,
            name if name.is_dav("remove") => false,
            // What is not known is ignored (RFC 4918, section 17).
            _ => continue,
        };
        let properties = part.child("prop").ok_or_else(bad)?;
        for property in properties.elements() {
            changes.push((property.name.clone(), sets.then(|| property.to_string())));
        }
    }
    if changes.is_empty() { Err(bad()) } else { Ok(changes) }
}

/// Each property with what became of it: if one failed, all others were not changed for that.
fn answer(
    call: &Call,
    is_folder: bool,
    changes: &[(Name, Option<String>)],
    outcome: StatusCode,
) -> String {
    let mut out = format!("{XML_HEAD}<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>");
    xml::write_text(&mut out, &call.path.href(is_folder));
    out.push_str("</D:href>");
    let mut propstat = |names: &[&Name], status: StatusCode, condition: &str| {
        if names.is_empty() {
            return;
        }
        out.push_str("<D:propstat><D:prop>");
        names.iter().for_each(|name| xml::write_empty(&mut out, name));
        out.push_str(&format!(
            "</D:prop><D:status>HTTP/1.1 {status}</D:status>{condition}</D:propstat>"
        ));
    };
    let mut names: Vec<&Name> = changes.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    if outcome == StatusCode::FORBIDDEN {
        let (live, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| is_live(name));
        let condition = "<D:error><D:cannot-modify-protected-property/></D:error>";
        propstat(&live, StatusCode::FORBIDDEN, condition);
        propstat(&others, StatusCode::FAILED_DEPENDENCY, "");
    } else {
        propstat(&names, outcome, "");
    }
    out.push_str("</D:response></D:multistatus>\n");
    out
}
