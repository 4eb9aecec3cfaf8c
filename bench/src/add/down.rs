//! Calls while there is no helper.
//!
//! Guarantees: what is called was attached, or not, as on a node whose helper was killed a moment ago; `sbr` is called in
//! the same turns, so that it can be compared. Leaves out: pods that wait for the helper until it is back.

use std::time::Duration;

use anyhow::Result;
use sortie_testkit::{Helper, Lab};

use super::measure::Verb;
use super::series::{Daemon, Series};
use super::subjects::{Bridge, Pod, Subject};

/// Pods with a route on the node when the helper goes: as many as keep rules of their own.
const PODS: usize = 6;
/// How long a pod with a route waits for the helper here; the plugin's own limit is 10 s.
pub(crate) const LIMIT: Duration = Duration::from_millis(500);
/// CNI's "try again".
const TRY_AGAIN: u64 = 11;

/// One killing of the helper, and [`PODS`] turns without it.
pub(crate) fn measure(lab: &Lab, helper: &mut Helper<'_>, (bridge, series): (&Bridge<'_>, &mut Series)) -> Result<()> {
    let pods = lab.node.with(|| (0..PODS).map(|number| attached(bridge, number)).collect::<Result<Vec<Pod>>>())?;
    helper.kill9()?;
    lab.node.with(|| pods.iter().try_for_each(|pod| turn(bridge, pod, series)))?;
    helper.restart()
}

fn attached(bridge: &Bridge<'_>, number: usize) -> Result<Pod> {
    let pod = bridge.pod(format!("down-{number}"), number)?;
    Subject::Selected.call(bridge, &pod)?.run(Verb::Add)?;
    Ok(pod)
}

/// A pod that was attached goes; others come and go.
fn turn(bridge: &Bridge<'_>, old: &Pod, series: &mut Series) -> Result<()> {
    let (add, del) = ((Daemon::Down, Verb::Add), (Daemon::Down, Verb::Del));
    series.took(del, Subject::Selected, Subject::Selected.call(bridge, old)?.run(Verb::Del)?.1);
    bridge.remove(old)?;
    for subject in [Subject::Selected, Subject::Unselected, Subject::Sbr] {
        let pod = bridge.pod("down".to_owned(), 0)?;
        if subject == Subject::Selected {
            let took = Subject::impatient(bridge, &pod, LIMIT)?.refused(Verb::Add, TRY_AGAIN)?;
            series.took(add, subject, took);
        } else {
            let call = subject.call(bridge, &pod)?;
            series.took(add, subject, call.run(Verb::Add)?.1);
            series.took(del, subject, call.run(Verb::Del)?.1);
        }
        bridge.remove(&pod)?;
    }
    Ok(())
}
