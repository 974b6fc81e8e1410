// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use crate::usage::Tokens;

fn spend(limits: SpendLimits) -> Arc<Spend> {
    Arc::new(Spend::new(limits, ModelRules::default()))
}

fn usage(model: &str, input: u64, output: u64) -> Usage {
    let tokens = Tokens {
        input,
        output,
        ..Tokens::default()
    };
    Usage {
        model: Some(model.to_owned()),
        tokens,
    }
}

fn refused<T>(result: Result<T, Box<Denied>>) -> Refusal {
    result.err().expect("a refusal").refusal
}

#[test]
fn nothing_set_counts_nothing() {
    let spend = spend(SpendLimits::default());
    assert!(spend.is_idle() && !spend.needs_model());
    assert_eq!(spend.shown(), serde_json::json!({}));
}

#[test]
fn exactly_as_many_pass_as_are_left_from_any_number_of_threads() {
    for limits in [
        SpendLimits {
            runs: Some(100),
            ..SpendLimits::default()
        },
        SpendLimits {
            requests_per_minute: Some(100),
            ..SpendLimits::default()
        },
        SpendLimits {
            requests_per_hour: Some(100),
            ..SpendLimits::default()
        },
        SpendLimits {
            concurrent_requests: Some(100),
            ..SpendLimits::default()
        },
    ] {
        let spend = spend(limits);
        let admitted: usize = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..50)
                            .filter_map(|_| spend.admit(None, false).ok())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            let held: Vec<_> = all.into_iter().map(|it| it.join().unwrap()).collect();
            held.iter().map(Vec::len).sum()
        });
        assert_eq!(admitted, 100);
        assert_eq!(spend.book().spent().2, 0);
    }
}

#[test]
fn a_place_is_given_back_and_a_run_is_not() {
    let spend = spend(SpendLimits {
        concurrent_requests: Some(1),
        runs: Some(2),
        ..SpendLimits::default()
    });
    let first = spend.admit(None, false).unwrap();
    assert_eq!(refused(spend.admit(None, false)), Refusal::TooManyAtOnce);
    drop(first);
    drop(spend.admit(None, false).unwrap());
    let denied = spend.admit(None, false).unwrap_err();
    assert_eq!(denied.refusal, Refusal::RunsExhausted);
    assert!(
        denied.message.contains("limit of 2") && denied.message.contains("2 used"),
        "{}",
        denied.message
    );
}

#[test]
fn budgets_are_overrun_by_what_is_in_flight_and_no_more() {
    let spend = spend(SpendLimits {
        tokens: Some(100),
        ..SpendLimits::default()
    });
    let mut all: Vec<Ticket> = (0..3).map(|_| spend.admit(None, false).unwrap()).collect();
    for ticket in &mut all {
        ticket.used(usage("gpt-5", 60, 0));
    }
    all.pop();
    assert!(spend.admit(None, false).is_ok_and(|mut it| {
        it.free();
        true
    }));
    all.pop();
    let denied = spend.admit(None, false).unwrap_err();
    assert_eq!(denied.refusal, Refusal::TokensExhausted);
    assert!(
        denied.message.contains("100 tokens") && denied.message.contains("120 used"),
        "{}",
        denied.message
    );
    assert!(
        denied.message.contains("1 requests in flight"),
        "{}",
        denied.message
    );
    drop(all);
    assert_eq!(spend.book().spent().0, 180);
}

#[test]
fn weights_and_prices_are_applied() {
    let weights = Weights {
        output: 2500,
        cache_read: 0,
        ..Weights::default()
    };
    let mut faults = Vec::new();
    let prices = Arc::new(Prices::new(&std::collections::BTreeMap::new(), &mut faults));
    let spend = spend(SpendLimits {
        tokens: Some(1_000_000_000),
        weights,
        dollars: Some(Picodollars(1_000_000_000_000)),
        prices,
        ..SpendLimits::default()
    });
    let mut used = usage("gpt-5-2025-08-07", 100, 10);
    used.tokens.cache_read = 1_000_000;
    spend.commit(Some("gpt-5-pro"), &used);
    // The model that answered is the one that is billed: 100 × 1.25 + 10 × 10 + 1000000 × 0.125, a millionth each.
    assert_eq!(spend.book().spent(), (125, Picodollars(125_225_000_000), 0));
    // Without a known one, what was asked for; without that, the dearest.
    spend.commit(Some("gpt-5-nano"), &usage("deployment-7", 1_000_000, 0));
    assert_eq!(spend.book().spent().1, Picodollars(175_225_000_000));
    spend.commit(None, &usage("deployment-7", 1_000_000, 0));
    assert_eq!(refused(spend.admit(None, false)), Refusal::DollarsExhausted);
    assert_eq!(
        refused(spend.judge("deployment-7")),
        Refusal::ModelNotPriced
    );
    assert_eq!(spend.judge("GPT-5").unwrap(), "GPT-5");
}

#[test]
fn an_answer_that_says_nothing_is_estimated() {
    let spend = spend(SpendLimits {
        tokens: Some(1000),
        ..SpendLimits::default()
    });
    let mut ticket = spend.admit(None, false).unwrap();
    ticket.received(400);
    ticket.sent(41);
    drop(ticket);
    assert_eq!(spend.book().spent().0, 111);
    let mut ticket = spend.admit(None, false).unwrap();
    ticket.received(400);
    ticket.free();
    drop(ticket);
    assert_eq!(spend.book().spent().0, 111);
}

#[test]
fn bytes_of_both_directions_count() {
    let spend = spend(SpendLimits {
        bytes_per_minute: Some(100),
        ..SpendLimits::default()
    });
    let mut ticket = spend.admit(None, false).unwrap();
    ticket.received(60);
    drop(spend.admit(None, false).unwrap());
    ticket.sent(40);
    let denied = spend.admit(None, false).unwrap_err();
    let rate = denied.rate.unwrap();
    assert_eq!(
        (denied.refusal, rate.window, rate.limit),
        (Refusal::RateLimited, "per_minute_bytes", 100)
    );
    assert!((59..=61).contains(&rate.retry_after));
}

#[test]
fn messages_of_a_socket_are_judged_and_rewritten() {
    let aliases = std::collections::BTreeMap::from([("fast".to_owned(), "gpt-5-mini".to_owned())]);
    let rules = ModelRules::new(Some(&["gpt-5*".to_owned()]), &[], &aliases);
    let limits = SpendLimits {
        runs: Some(3),
        requests_per_minute: Some(2),
        ..SpendLimits::default()
    };
    let spend = Arc::new(Spend::new(limits, rules));
    let ticket = spend.admit(None, true).unwrap();
    let create =
        |model: &str| format!(r#"{{"type":"response.create","model":"{model}","input":[]}}"#);
    let nameless = br#"{"type":"response.create"}"#;
    assert_eq!(refused(ticket.message(nameless)), Refusal::ModelUnreadable);
    assert_eq!(
        refused(ticket.message(create("gpt-4").as_bytes())),
        Refusal::ModelNotAllowed
    );
    assert_eq!(refused(ticket.message(b"hello")), Refusal::ModelUnreadable);
    assert_eq!(
        ticket.message(br#"{"type":"response.cancel"}"#).unwrap(),
        None
    );
    // The handshake's own request, and one more.
    let sent = ticket.message(create("fast").as_bytes()).unwrap().unwrap();
    assert_eq!(sent, create("gpt-5-mini").as_bytes());
    assert_eq!(ticket.message(nameless).unwrap(), None);
    assert_eq!(
        refused(ticket.message(create("gpt-5").as_bytes())),
        Refusal::RateLimited
    );
    let idle = Arc::new(Spend::new(SpendLimits::default(), ModelRules::default()));
    assert_eq!(
        idle.admit(None, true).unwrap().message(b"hello").unwrap(),
        None
    );
}

#[test]
fn messages_are_read_only_if_something_depends_on_them() {
    let spend = spend(SpendLimits {
        concurrent_requests: Some(1),
        ..SpendLimits::default()
    });
    assert!(spend.admit(None, true).unwrap().judge().is_none());
    let spend = Arc::new(Spend::new(
        SpendLimits {
            runs: Some(1),
            tokens: Some(10),
            ..SpendLimits::default()
        },
        ModelRules::default(),
    ));
    let mut ticket = spend.admit(None, true).unwrap();
    let judge = ticket.judge().unwrap();
    let create = br#"{"type":"response.create"}"#;
    assert_eq!(judge(create), Ok(None));
    assert_eq!(judge(create), Err(Refusal::RunsExhausted));
    ticket.answered(&usage("gpt-5", 10, 0), 400);
    drop(ticket);
    assert_eq!(spend.book().spent(), (10, Picodollars(0), 0));
}

#[test]
fn an_answer_on_a_socket_that_is_cut_off_is_owed_all_the_same() {
    let spend = spend(SpendLimits {
        tokens: Some(1000),
        ..SpendLimits::default()
    });
    let mut ticket = spend.admit(None, true).unwrap();
    let judge = ticket.judge().unwrap();
    let create = br#"{"type":"response.create"}"#;
    assert_eq!(judge(create), Ok(None));
    ticket.sent(400);
    ticket.answered(&usage("gpt-5", 10, 0), 400);
    assert_eq!(judge(create), Ok(None));
    // It reads along, and hangs up before the cost is said.
    ticket.sent(80);
    drop(ticket);
    assert_eq!(spend.book().spent(), (30, Picodollars(0), 0));
    let background = br#"{"type":"response.create","background":true}"#;
    let ticket = spend.admit(None, true).unwrap();
    assert_eq!(
        ticket.judge().unwrap()(background),
        Err(Refusal::ModelUnreadable)
    );
}
