//! Precedence and mistakes of settings, on a made-up environment and real files.

use clap::Parser;

use super::*;

fn resolve(args: &[&str], variables: &[(&str, &str)]) -> Result<Settings, Failure> {
    let args = Args::try_parse_from([&["echomesh", "rooms"], args].concat()).unwrap();
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Settings::resolve(&args, &Environment { variable })
}

fn config_home(text: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("echomesh")).unwrap();
    std::fs::write(home.path().join("echomesh/config.toml"), text).unwrap();
    home
}

/// Goal: flag over environment over file over default, for each setting on its own.
#[test]
fn the_nearer_place_wins() {
    let home = config_home("server = \"file.example:1\"\nuser = \"file\"\npassword = \"file\"\n");
    let home = home.path().to_str().unwrap();
    let file = resolve(&[], &[("XDG_CONFIG_HOME", home)]).unwrap();
    assert_eq!((file.server(), file.user, file.password), ("file.example:1".into(), "file".into(), "file".into()));
    let variables = [("XDG_CONFIG_HOME", home), ("ECHOMESH_USER", "env"), ("ECHOMESH_SERVER", "env.example")];
    let mixed = resolve(&["--user", "flag"], &variables).unwrap();
    assert_eq!((mixed.server(), mixed.user.as_str()), ("env.example:8888".into(), "flag"));
    assert_eq!(resolve(&["--user", "a"], &[]).unwrap().server(), "localhost:8888");
}

/// Goal: a password file named nearer wins over a password named farther away.
#[test]
fn a_password_file_is_a_password() {
    let home = config_home("user = \"a\"\npassword = \"file\"\n");
    let secret = home.path().join("secret");
    std::fs::write(&secret, "hunter2\nsecond line\n").unwrap();
    let variables = [("XDG_CONFIG_HOME", home.path().to_str().unwrap()), ("ECHOMESH_PASSWORD", "env")];
    let settings = resolve(&["--password-file", secret.to_str().unwrap()], &variables).unwrap();
    assert_eq!(settings.password, "hunter2");
    assert_eq!(resolve(&[], &variables).unwrap().password, "env");
    std::fs::write(&secret, "\n").unwrap();
    let empty = resolve(&["--password-file", secret.to_str().unwrap()], &variables);
    assert!(matches!(empty, Err(Failure::Usage(_))));
}

/// Goal: a token takes the place of name and password, from a file, the environment or the configuration; a nearer
/// password wins over it; a guest needs neither (PROTOCOL M62, M63).
#[test]
fn a_token_needs_no_name_and_no_password() {
    let home = config_home("");
    let file = home.path().join("token");
    std::fs::write(&file, "0123\n").unwrap();
    let path = file.to_str().unwrap();
    let unasked = |settings: Settings| settings.with_password(|_| panic!("is not needed")).unwrap();
    let by_flag = unasked(resolve(&["--token-file", path], &[("ECHOMESH_PASSWORD", "p")]).unwrap());
    assert_eq!((by_flag.token.as_str(), by_flag.password.as_str(), by_flag.user.as_str()), ("0123", "", ""));
    assert_eq!(unasked(resolve(&[], &[("ECHOMESH_TOKEN", "45")]).unwrap()).token, "45");
    assert_eq!(unasked(resolve(&[], &[("ECHOMESH_TOKEN_FILE", path)]).unwrap()).token, "0123");
    let nearer = resolve(&["--user", "a", "--password", "p"], &[("ECHOMESH_TOKEN", "45")]).unwrap();
    assert_eq!((nearer.token.as_str(), nearer.password.as_str()), ("", "p"));
    let home = config_home(&format!("token_file = {path:?}\n"));
    let configured = resolve(&[], &[("XDG_CONFIG_HOME", home.path().to_str().unwrap())]).unwrap();
    assert_eq!(unasked(configured).token, "0123");
    let guest = unasked(resolve(&["--user", "gus", "--guest"], &[("ECHOMESH_TOKEN", "45")]).unwrap());
    assert!(guest.guest && guest.token.is_empty());
    let invited = resolve(&["--user", "a", "--invitation", "67"], &[]).unwrap();
    assert_eq!(invited.invitation, "67");
}

/// Goal: the password is asked for only when it was given nowhere.
#[test]
fn the_prompt_comes_last() {
    let asked = resolve(&["--user", "ann"], &[]).unwrap().with_password(|_| Ok("typed".into())).unwrap();
    assert_eq!(asked.password, "typed");
    let given = resolve(&["--user", "ann", "--password", "p"], &[]).unwrap();
    assert_eq!(given.with_password(|_| panic!("was given")).unwrap().password, "p");
}

/// Goal: what a person can correct is said as such: unknown keys, missing files, bad values, no user.
#[test]
fn mistakes_are_told() {
    let home = config_home("sever = \"typo\"\n");
    let typo = resolve(&["--user", "a"], &[("XDG_CONFIG_HOME", home.path().to_str().unwrap())]).err().unwrap();
    assert!(typo.to_string().contains("sever"), "{typo}");
    let text = |args: &[&str], variables: &[(&str, &str)]| match resolve(args, variables) {
        Err(Failure::Usage(text)) => text,
        _ => panic!("{args:?} must be refused"),
    };
    assert!(text(&[], &[]).contains("--user"));
    assert!(text(&["--user", "a", "--config", "/nonexistent"], &[]).contains("/nonexistent"));
    assert!(text(&["--user", "a", "--fingerprint", "xyz"], &[]).contains("64"));
    assert!(text(&["--user", "a"], &[("ECHOMESH_PLAINTEXT", "maybe")]).contains("true or false"));
    for server in ["", ":1", "host:", "host:0", "host:70000", "[::1", "[::1]x", "a b"] {
        assert!(text(&["--user", "a", "--server", server], &[]).contains("HOST"), "{server:?}");
    }
}

/// Goal: IPv6 addresses with and without port are understood and written back the same way.
#[test]
fn ipv6_servers_are_understood() {
    for (server, known) in [("::1", "[::1]:8888"), ("[::1]", "[::1]:8888"), ("[::1]:99", "[::1]:99")] {
        assert_eq!(resolve(&["--user", "a", "--server", server], &[]).unwrap().server(), known);
    }
}

/// Goal: a room's password comes from an option, its file or the environment, and only a typed one is set on a room.
#[test]
fn a_rooms_password_is_for_entering_unless_typed() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    std::fs::write(&secret, "sesame\n").unwrap();
    let file = secret.to_str().unwrap();
    let of = |args: &[&str], variables: &[(&str, &str)]| {
        let settings = resolve(&[&["--user", "a"], args].concat(), variables).unwrap();
        (settings.room_password, settings.room_password_is_typed)
    };
    assert_eq!(of(&[], &[]), (String::new(), false));
    assert_eq!(of(&["--room-password", "x"], &[("ECHOMESH_ROOM_PASSWORD", "y")]), ("x".into(), true));
    assert_eq!(of(&["--room-password-file", file], &[]), ("sesame".into(), true));
    assert_eq!(of(&[], &[("ECHOMESH_ROOM_PASSWORD", "y")]), ("y".into(), false));
    assert_eq!(of(&[], &[("ECHOMESH_ROOM_PASSWORD_FILE", file)]), ("sesame".into(), false));
}

/// Goal: what the interface is set to in the file is understood there, and a mistake names the file's line.
#[test]
fn the_interface_is_set_in_the_file() {
    let home = config_home("user = \"a\"\nthreshold = -45\nhotkey = \"F9\"\n");
    let settings = resolve(&[], &[("XDG_CONFIG_HOME", home.path().to_str().unwrap())]).unwrap();
    assert_eq!(settings.threshold, Threshold::Below(45));
    assert_eq!(settings.hotkey.map(|key| key.code()), Some(67));
    for (wrong, said) in [("threshold = 45", "no threshold"), ("hotkey = \"f99\"", "no key")] {
        let home = config_home(wrong);
        let failure = resolve(&[], &[("XDG_CONFIG_HOME", home.path().to_str().unwrap())]).err().unwrap().to_string();
        assert!(failure.contains("line 1") && failure.contains(said), "{failure}");
    }
}
