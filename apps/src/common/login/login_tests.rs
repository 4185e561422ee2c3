//! Tests of [`super`].
use super::*;

fn basic(user: &str, password: &str) -> HeaderValue {
    let coded = STANDARD.encode(format!("{user}:{password}"));
    HeaderValue::from_str(&format!("Basic {coded}")).unwrap()
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[test]
fn users_are_let_in_and_others_are_not() {
    let state = tempfile::tempdir().unwrap();
    let file = UserFile::in_folder(state.path());
    file.add("ann", "sec:ret", false).unwrap();
    let rt = dapple::Runtime::new().unwrap();
    let (login, password) = Login::new(&rt.handle(), file.clone()).unwrap();
    let login = Arc::new(login);
    let visitor = Visitor::new(&login, HERE);
    assert_eq!(password, None);
    let check =
        |field: Option<&HeaderValue>| rt.block_on(visitor.check(field)).map(|u| u.name.to_string());
    assert_eq!(check(None), Err(Refused::Unknown));
    assert_eq!(check(Some(&basic("ann", "sec:ret"))), Ok("ann".to_owned()));
    for (user, password) in
        [("ann", "sec"), ("bob", "sec:ret"), ("", ""), (ONE_TIME_USER, "sec:ret")]
    {
        assert_eq!(check(Some(&basic(user, password))), Err(Refused::Unknown), "{user}");
    }
    for bad in ["Basic", "Basic !", "Bearer x", "Basic YWJj"] {
        assert_eq!(check(Some(&HeaderValue::from_static(bad))), Err(Refused::Unknown), "{bad}");
    }
    // Users who are remembered do not wait for the failures of others.
    assert_eq!(check(Some(&basic("ann", "sec:ret"))), Ok("ann".to_owned()));
    // The user is let in on another connection, too. That lets in nobody else on that connection.
    let other = Visitor::new(&login, HERE);
    assert!(rt.block_on(other.check(Some(&basic("ann", "sec:ret")))).is_ok());
    assert_eq!(rt.block_on(other.check(None)), Err(Refused::Unknown));
    // After a change of the password, the old one is refused as soon as the file has been checked.
    file.add("ann", "other", true).unwrap();
    login.known().looked_at = Instant::now() - LOOKED_AT_EVERY;
    assert_eq!(check(Some(&basic("ann", "sec:ret"))), Err(Refused::Unknown));
    assert_eq!(check(Some(&basic("ann", "other"))), Ok("ann".to_owned()));
}

#[test]
fn without_users_there_is_a_password_for_once() {
    let state = tempfile::tempdir().unwrap();
    let file = UserFile::in_folder(state.path());
    let rt = dapple::Runtime::new().unwrap();
    let (login, password) = Login::new(&rt.handle(), file.clone()).unwrap();
    let login = Arc::new(login);
    let field = basic(ONE_TIME_USER, &password.unwrap());
    let visitor = Visitor::new(&login, HERE);
    assert!(rt.block_on(visitor.check(Some(&field))).is_ok());
    // The one-time password becomes invalid as soon as there is a user.
    file.add("ann", "secret", false).unwrap();
    login.known().looked_at = Instant::now() - LOOKED_AT_EVERY;
    assert_eq!(rt.block_on(visitor.check(Some(&field))), Err(Refused::Unknown));
    let ann = rt.block_on(visitor.check(Some(&basic("ann", "secret")))).unwrap();
    assert_eq!(*ann.name, *"ann");
}

#[test]
fn one_time_passwords_differ() {
    let (one, other) = (random_password().unwrap(), random_password().unwrap());
    assert_ne!(one, other);
    assert_eq!(one.len(), 23, "{one}");
}
