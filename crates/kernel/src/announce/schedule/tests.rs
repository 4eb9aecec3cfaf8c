use super::*;

const GAP: Duration = Duration::from_micros(500);

fn via(next_hop: Option<&str>) -> Via {
    Via { device: DeviceName("a".into()), next_hop: next_hop.map(|hop| hop.parse().unwrap()) }
}

fn vip(number: u32) -> IpAddr {
    std::net::Ipv4Addr::from(0xc633_6400 + number).into()
}

/// Every action until the end, with its time since the start, as a loop over `wake` and `pop` sees it.
fn run(schedule: &mut Schedule, start: Instant, end: Duration) -> Vec<(Duration, Action)> {
    let mut seen = Vec::new();
    while let Some(now) = schedule.wake().filter(|at| *at <= start + end) {
        seen.extend(schedule.pop(now).map(|action| (now - start, action)));
    }
    seen
}

fn is_announcement((_, action): &&(Duration, Action)) -> bool {
    matches!(action, Action::Announce { .. })
}

#[test]
fn an_address_is_announced_four_times_and_then_each_minute() {
    let (start, mut schedule) = (Instant::now(), Schedule::new(GAP));
    schedule.set([(vip(1), via(None))].into(), start);
    let seen = run(&mut schedule, start, Duration::from_secs(123));
    let times: Vec<_> = seen.iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(times, [0, 200, 1000, 2000, 62_000, 122_000]);
}

#[test]
fn setting_the_same_again_changes_nothing_and_another_place_starts_over() {
    let (start, mut schedule) = (Instant::now(), Schedule::new(GAP));
    schedule.set([(vip(1), via(None))].into(), start);
    run(&mut schedule, start, Duration::from_millis(500));
    schedule.set([(vip(1), via(None))].into(), start + Duration::from_millis(500));
    assert_eq!(schedule.wake(), Some(start + Duration::from_secs(1)));
    schedule.set([(vip(1), via(Some("198.51.100.254")))].into(), start + Duration::from_millis(600));
    assert_eq!(schedule.wake(), Some(start + Duration::from_millis(600)));
    schedule.set(BTreeMap::new(), start);
    assert_eq!(schedule.wake(), None);
}

#[test]
fn a_silent_next_hop_is_asked_ten_times_in_each_round() {
    let (start, mut schedule) = (Instant::now(), Schedule::new(GAP));
    schedule.set([(vip(1), via(Some("198.51.100.254")))].into(), start);
    let questions = |seen: Vec<(Duration, Action)>| seen.iter().filter(|one| !is_announcement(one)).count();
    assert_eq!(questions(run(&mut schedule, start, Duration::from_millis(900))), 1);
    assert_eq!(schedule.verified(vip(1)), None);
    assert_eq!(questions(run(&mut schedule, start, Duration::from_secs(60))), 9);
    assert_eq!(schedule.verified(vip(1)), Some(false));
    assert_eq!(questions(run(&mut schedule, start, Duration::from_secs(100))), 10);
}

#[test]
fn only_the_answer_of_the_next_hop_verifies_and_ends_the_questions() {
    let (start, mut schedule) = (Instant::now(), Schedule::new(GAP));
    schedule.set([(vip(1), via(Some("198.51.100.254")))].into(), start);
    run(&mut schedule, start, Duration::from_millis(2500));
    schedule.heard(vip(1), "198.51.100.7".parse().unwrap());
    schedule.heard(vip(2), "198.51.100.254".parse().unwrap());
    assert_eq!(schedule.verified(vip(1)), Some(false));
    schedule.heard(vip(1), "198.51.100.254".parse().unwrap());
    assert_eq!((schedule.verified(vip(1)), schedule.verified(vip(2))), (Some(true), None));
    assert!(run(&mut schedule, start, Duration::from_secs(61)).is_empty());
    // The next round asks again, and believes until a question stays unanswered.
    run(&mut schedule, start, Duration::from_millis(62_500));
    assert_eq!(schedule.verified(vip(1)), Some(true));
    run(&mut schedule, start, Duration::from_millis(63_500));
    assert_eq!(schedule.verified(vip(1)), Some(false));
}

#[test]
fn four_thousand_addresses_keep_to_the_pace_and_all_come_before_the_first_repetition() {
    let (start, mut schedule) = (Instant::now(), Schedule::new(GAP));
    let all = (0..4000).map(|number| (vip(number), via(Some("198.51.100.254"))));
    schedule.set(all.collect(), start);
    let seen = run(&mut schedule, start, Duration::from_secs(30));
    let first: BTreeSet<_> =
        seen.iter().take(4000).filter(is_announcement).map(|(_, action)| format!("{action:?}")).collect();
    assert_eq!(first.len(), 4000);
    assert!(seen[3999].0 <= Duration::from_millis(4010), "{:?}", seen[3999].0);
    let cost = |(_, action): &(Duration, Action)| if matches!(action, Action::Announce { .. }) { 2 } else { 1 };
    for second in 0..29 {
        let within = |(at, _): &&(Duration, Action)| at.as_secs() == second;
        let frames: u32 = seen.iter().filter(within).map(cost).sum();
        assert!(frames <= 2022, "{frames} frames in second {second}");
    }
}

#[test]
fn a_device_that_came_back_is_announced_on_anew_and_others_are_not() {
    let (start, mut schedule) = (Instant::now(), Schedule::new(GAP));
    let elsewhere = Via { device: DeviceName("b".into()), next_hop: None };
    schedule.set([(vip(1), via(None)), (vip(2), elsewhere)].into(), start);
    run(&mut schedule, start, Duration::from_secs(10));
    schedule.restart(&DeviceName("a".into()), start + Duration::from_secs(20));
    let seen = run(&mut schedule, start, Duration::from_secs(30));
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|(_, action)| matches!(action, Action::Announce { address, .. } if *address == vip(1))));
}
