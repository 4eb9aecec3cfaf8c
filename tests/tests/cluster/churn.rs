//! Pods in crowds, and pods that live for a moment.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::life::{Life, members};
use crate::objects::{Pods, burst};

/// Pods of each Job, and how many at once.
const JOB: (usize, usize) = (15, 5);

pub(crate) fn a_rolling_restart_of_fifty_pods_leaks_nothing(life: &Life) -> Result<()> {
    let product = &life.product;
    let before = product.pods("sip")?;
    product.kubectl.run(&["rollout", "restart", "deployment/sip"])?;
    product.rolled_out("sip")?;
    let after = product.pods("sip")?;
    ensure!(after.len() == 50 && !after.iter().any(|pod| before.contains(pod)), "not restarted: {after:?}");
    life.all_go_on()?;
    let whole = whole(life, "sip")?;
    life.says(&format!("rolling restart; the first datagrams of {whole} of 50 pods arrived"))?;
    ensure!(whole > 0, "no pod was served from its start: {}", product.account());
    // Fewer are enough for what follows.
    product.kubectl.run(&["scale", "deployment/sip", "--replicas=12"])?;
    product.rolled_out("sip")
}

/// Pods that send twenty datagrams in less than half a second and are gone.
pub(crate) fn pods_of_a_job_leave_right_from_their_first_instruction(life: &Life) -> Result<()> {
    let product = &life.product;
    let words = || burst(20, 20);
    let flash =
        Pods { labels: json!({}), annotations: json!({"sortie.dev/route": "b"}), words: words(), ..members("flash") };
    let burst = Pods { words: words(), ..members("burst") };
    product.kubectl.apply(&sortie_testkit::kube::list(&[flash.job(JOB), burst.job(JOB)]))?;
    for app in ["flash", "burst"] {
        product.cluster.holds("Complete", &[&format!("job/{app}")])?;
    }
    life.nothing_leaked()?;
    let [flash, burst] = [whole(life, "flash")?, whole(life, "burst")?];
    life.says(&format!("jobs; the first datagrams of {flash} and {burst} of {} pods arrived", JOB.0))?;
    // A busy owner loses its permission to send with a Service's address for a moment; a route needs none.
    ensure!(flash == JOB.0 && burst > 0, "datagrams are missing: {}", product.account());
    product.kubectl.run(&["delete", "job", "flash", "burst"]).map(drop)
}

/// Of how many pods that are there, running or over, the first datagrams of both families arrived.
fn whole(life: &Life, app: &str) -> Result<usize> {
    let selector = format!("app={app}");
    let names = life.product.kubectl.run(&["get", "pods", "-l", &selector, "-o", "name"])?;
    let mut count = 0;
    for name in names.lines() {
        let first = life.wire.first(name.trim_start_matches("pod/"))?;
        count += usize::from(first == [Some(0), Some(0)]);
    }
    Ok(count)
}
