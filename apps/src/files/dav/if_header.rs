//! The If field (RFC 4918, section 10.4): lists of conditions on the state of resources.

use std::str::Chars;
use std::sync::Arc;

/// A whole field. It holds if one of its lists does.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::files) struct IfHeader {
    pub(in crate::files) lists: Vec<List>,
}

/// A list of conditions. It holds if all of them do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::files) struct List {
    /// The URL of the resource. `None` stands for the resource of the request.
    pub(in crate::files) resource: Option<Arc<str>>,
    pub(in crate::files) conditions: Vec<Condition>,
}

/// A condition, which may be negated.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::files) struct Condition {
    pub(in crate::files) negated: bool,
    pub(in crate::files) state: State,
}

/// A state of a resource.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::files) enum State {
    /// A lock token, as a URI without its brackets.
    Token(String),
    /// An entity tag with its quotes, and with `W/` if it is weak.
    Etag(String),
}

/// The maximum number of conditions in a field.
pub(super) const MOST: usize = 128;

impl IfHeader {
    /// Parses a field. Returns `None` if it is malformed.
    pub(in crate::files) fn parse(text: &str) -> Option<IfHeader> {
        // Some clients send only a token.
        if is_bare_token(text.trim_ascii()) {
            let state = State::Token(text.trim_ascii().to_owned());
            let conditions = vec![Condition { negated: false, state }];
            return Some(IfHeader { lists: vec![List { resource: None, conditions }] });
        }
        let mut rest = text.chars();
        let mut lists: Vec<List> = Vec::new();
        let mut resource = None;
        let mut tag_has_list = true;
        loop {
            skip_space(&mut rest);
            match rest.next() {
                None => break,
                Some('<') => {
                    // Either every list has a tag before it, or none has.
                    if !tag_has_list || (!lists.is_empty() && resource.is_none()) {
                        return None;
                    }
                    resource = Some(Arc::from(until(&mut rest, '>')?));
                    tag_has_list = false;
                }
                Some('(') => {
                    lists.push(List {
                        resource: resource.clone(),
                        conditions: conditions(&mut rest)?,
                    });
                    tag_has_list = true;
                }
                Some(_) => return None,
            }
            if lists.iter().map(|list| list.conditions.len()).sum::<usize>() > MOST {
                return None;
            }
        }
        (tag_has_list && !lists.is_empty()).then_some(IfHeader { lists })
    }

    /// Returns all lock tokens that the field names, and so the client has submitted.
    pub(in crate::files) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().flat_map(|list| &list.conditions).filter_map(|condition| match &condition
            .state
        {
            State::Token(token) => Some(token.as_str()),
            State::Etag(_) => None,
        })
    }

    /// Returns `true` if the field holds. `is` says whether a resource is in a state.
    pub(in crate::files) fn holds(&self, mut is: impl FnMut(Option<&str>, &State) -> bool) -> bool {
        self.lists.iter().any(|list| {
            let resource = list.resource.as_deref();
            list.conditions.iter().all(|one| is(resource, &one.state) != one.negated)
        })
    }
}

fn conditions(rest: &mut Chars<'_>) -> Option<Vec<Condition>> {
    let mut conditions = Vec::new();
    let mut negated = false;
    loop {
        skip_space(rest);
        let state = match rest.next()? {
            ')' if !negated && !conditions.is_empty() => return Some(conditions),
            '<' => State::Token(until(rest, '>')?),
            '[' => State::Etag(until(rest, ']')?),
            'N' | 'n' if !negated && is_not(rest.as_str()) => {
                *rest = rest.as_str()[2..].chars();
                negated = true;
                continue;
            }
            // Some clients leave out the brackets.
            first => {
                let end = rest.as_str().find([' ', '\t', ')', '<', '[', '(', '>', ']'])?;
                let (more, after) = rest.as_str().split_at(end);
                let token = format!("{first}{more}");
                *rest = after.chars();
                if !is_bare_token(&token) {
                    return None;
                }
                State::Token(token)
            }
        };
        conditions.push(Condition { negated, state });
        negated = false;
        if conditions.len() > MOST {
            return None;
        }
    }
}

/// Returns `true` if the rest continues with `ot` of `Not`, and is not part of a token.
fn is_not(rest: &str) -> bool {
    let is_end = |c: char| matches!(c, ' ' | '\t' | '<' | '[' | ')');
    rest.split_at_checked(2)
        .is_some_and(|(ot, rest)| ot.eq_ignore_ascii_case("ot") && rest.starts_with(is_end))
}

/// Returns `true` for a URI without brackets, as tokens are: it has a scheme, and no space.
fn is_bare_token(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_graphic() && !b"<>()[]\",".contains(&b);
    let has_scheme = text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && !rest.is_empty()
    });
    has_scheme && text.bytes().all(is_part)
}

fn skip_space(rest: &mut Chars<'_>) {
    *rest = rest.as_str().trim_start_matches([' ', '\t']).chars();
}

fn until(rest: &mut Chars<'_>, end: char) -> Option<String> {
    let (text, after) = rest.as_str().split_once(end)?;
    *rest = after.chars();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(text: &str) -> State {
        State::Token(text.to_owned())
    }

    fn etag(text: &str) -> State {
        State::Etag(text.to_owned())
    }

    #[test]
    fn lists_without_tags() {
        let header = IfHeader::parse("(<urn:a> [\"e\"]) (Not <urn:b>)").unwrap();
        let of = |negated, state| Condition { negated, state };
        assert_eq!(
            header.lists,
            [
                List {
                    resource: None,
                    conditions: vec![of(false, token("urn:a")), of(false, etag("\"e\""))]
                },
                List { resource: None, conditions: vec![of(true, token("urn:b"))] },
            ]
        );
        assert_eq!(header.tokens().collect::<Vec<_>>(), ["urn:a", "urn:b"]);
    }

    #[test]
    fn lists_with_tags() {
        let header =
            IfHeader::parse("<http://h/a> (<urn:a>)(<urn:b>) <http://h/b>(Not[W/\"x\"])").unwrap();
        let tags: Vec<_> = header.lists.iter().map(|l| l.resource.as_deref().unwrap()).collect();
        assert_eq!(tags, ["http://h/a", "http://h/a", "http://h/b"]);
        assert_eq!(
            header.lists[2].conditions,
            [Condition { negated: true, state: etag("W/\"x\"") }]
        );
    }

    #[test]
    fn tokens_without_brackets() {
        for text in ["urn:uuid:1", "(urn:uuid:1)", " ( urn:uuid:1 ) ", "(<urn:uuid:1>)"] {
            let header = IfHeader::parse(text).unwrap();
            assert_eq!(header.tokens().collect::<Vec<_>>(), ["urn:uuid:1"], "{text}");
        }
        let header = IfHeader::parse("(Not urn:a [\"e\"]) (notes:b)").unwrap();
        assert!(header.lists[0].conditions[0].negated);
        assert_eq!(header.tokens().collect::<Vec<_>>(), ["urn:a", "notes:b"]);
    }

    #[test]
    fn one_list_has_to_hold_and_all_of_it() {
        let header = IfHeader::parse("(<a> <b>) (Not <c>)").unwrap();
        let with = |known: &[&str]| {
            header.holds(|_, state| matches!(state, State::Token(t) if known.contains(&t.as_str())))
        };
        assert!(with(&["a", "b", "c"]));
        assert!(!with(&["a", "c"]));
        assert!(with(&[]));
    }

    #[test]
    fn bad_ones() {
        for bad in [
            "",
            "()",
            "(",
            "(<a>",
            "(<>)",
            "(Not)",
            "(Not Not <a>)",
            "<a>",
            "<a> <b> (<c>)",
            "(<a>) <b> (<c>)",
            "(a)",
            "<a> (<b>) <c>",
            "(<a>) x",
            "([e)",
        ] {
            assert_eq!(IfHeader::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[()<>Not\\[\\]a\" ]{0,60}|.{0,40}") {
            let _ = IfHeader::parse(&text);
        }
    }
}
