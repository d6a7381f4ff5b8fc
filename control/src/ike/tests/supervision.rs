//! charon dies, we die, it does not start, or it is somebody else's.

use super::*;

#[tokio::test]
async fn a_charon_that_is_killed_is_started_and_loaded_again() {
    let place = Place::new("kill");
    let ike = place.ike(one("198.51.100.1", "secret"));
    let before = until(&ike, "it runs", runs).await;
    assert_eq!(before.rows[0].state, IkeState::Down);
    Command::new("kill").args(["-9", &pid(&before).to_string()]).output().unwrap();
    let after = until(&ike, "it runs again", |page| runs(page) && pid(page) != pid(&before)).await;
    assert_eq!(after.charon.unwrap().restarts, 1);
    assert_eq!(connections(&mut place.client().await).await, ["acme/dc1"]);
    assert_eq!(names(&mut place.client().await, "get-shared", "keys").await, ["penstock:acme/dc1"]);
    ike.stop().await;
    assert!(!place.run.path().join("charon.pid").exists());
    assert!(Client::connect(&place.vici()).await.is_err(), "it has ended with us");
}

#[tokio::test]
async fn a_charon_that_hangs_is_noticed_though_nobody_asks_and_started_again() {
    let place = Place::new("hang");
    let ike = place.ike(one("198.51.100.1", "secret"));
    let before = until(&ike, "it runs", runs).await;
    Command::new("kill").args(["-STOP", &pid(&before).to_string()]).output().unwrap();
    let start = Instant::now();
    while ike.view().status().state == CharonState::Running {
        // Asked after 30 s, and 10 s to answer.
        assert!(start.elapsed() < Duration::from_secs(60), "nobody has noticed");
        sleep(Duration::from_millis(200)).await;
    }
    let after = until(&ike, "it runs again", |page| runs(page) && pid(page) != pid(&before)).await;
    assert_eq!(after.charon.unwrap().restarts, 1);
    ike.stop().await;
}

#[tokio::test]
async fn a_charon_outlives_a_crash_of_ours_and_is_found_again() {
    let place = Place::new("adopt");
    let mut first = Charon::new(place.settings()).unwrap();
    assert!(!first.start().await.unwrap());
    let pid = first.pid();
    let inside = format!("/proc/{}", pid.unwrap());
    let of = |file: &str| fs::read_to_string(format!("{inside}/{file}")).unwrap();
    assert!(of("status").contains("Cpus_allowed_list:\t0\n"), "on the core it was given");
    assert!(of("environ").contains("STRONGSWAN_CONF="), "{}", of("environ"));
    // Gone without a word, as in a crash.
    drop(first);
    let mut second = Charon::new(place.settings()).unwrap();
    assert!(second.start().await.unwrap(), "found");
    assert_eq!(second.pid(), pid);
    drop(second);
    // Other settings: that one is of no use.
    let mut settings = place.settings();
    settings.text.push_str("# changed\n");
    let mut third = Charon::new(settings).unwrap();
    assert!(!third.start().await.unwrap(), "a new one");
    assert_ne!(third.pid(), pid);
    drop(third);
    // Its number belongs to another process now.
    let text = fs::read_to_string(place.run.path().join("charon.pid")).unwrap();
    let (live, started) = text.trim().split_once(' ').unwrap();
    let wrong = format!("{live} {}\n", started.parse::<u64>().unwrap() + 1);
    fs::write(place.run.path().join("charon.pid"), wrong).unwrap();
    let mut fourth = Charon::new(place.settings()).unwrap();
    assert!(!fourth.start().await.unwrap(), "a new one");
    assert!(Path::new(&format!("/proc/{live}")).exists(), "what may be somebody else's is left alone");
    fourth.stop().await;
}

#[tokio::test]
async fn one_that_does_not_start_says_what_to_do() {
    let place = Place::new("fail");
    let start = |change: fn(&mut charon::Settings)| {
        let mut settings = place.settings();
        change(&mut settings);
        async { Charon::new(settings).unwrap().start().await.unwrap_err() }
    };
    let error = start(|settings| settings.program = "/nonexistent/charon".into()).await;
    assert!(error.to_string().contains("apt-get install charon-systemd"), "{error}");
    let error = start(|settings| settings.plugin = Some("/nonexistent.so".into())).await;
    assert!(error.to_string().contains("scripts/charon-plugin install"), "{error}");
    let error = start(|settings| settings.text = settings.text.replace("nonce", "nonce penstuck!")).await;
    assert!(matches!(error, CharonError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("penstuck"), "{error}");
    let error = start(|settings| settings.text = settings.text.replace("vici!", "")).await;
    assert!(matches!(error, CharonError::Silent { .. }), "{error}");
    assert!(error.to_string().contains("charon.log"), "{error}");
}

#[tokio::test]
async fn an_operators_charon_is_used_and_left_alone() {
    let place = Place::new("extern");
    let mut theirs = Charon::new(place.settings()).unwrap();
    let settings = Settings {
        vici: place.vici(),
        plugin_socket: "/none".into(),
        run: place.run.path().to_owned(),
        managed: None,
    };
    let ike = Ike::start(settings, one("198.51.100.1", "secret")).unwrap();
    let missing = until(&ike, "it is missed", |page| page.charon.as_ref().unwrap().problem.is_some()).await;
    assert!(missing.charon.unwrap().problem.unwrap().contains("is it running"));
    theirs.start().await.unwrap();
    until(&ike, "it is reached", runs).await;
    assert_eq!(connections(&mut place.client().await).await, ["acme/dc1"]);
    let pid = theirs.pid();
    ike.stop().await;
    assert_eq!(connections(&mut place.client().await).await, ["acme/dc1"]);
    assert_eq!(theirs.pid(), pid);
    theirs.stop().await;
}
