//! The product on real clusters, one after the other: installed by its manifests, used, upgraded, hurt, and taken off.

#[path = "cluster/churn.rs"]
mod churn;
#[path = "cluster/desk.rs"]
mod desk;
#[path = "cluster/edits.rs"]
mod edits;
#[path = "cluster/install.rs"]
mod install;
#[path = "cluster/life.rs"]
mod life;
#[path = "cluster/objects.rs"]
mod objects;
#[path = "cluster/outages.rs"]
mod outages;
#[path = "cluster/product.rs"]
mod product;
#[path = "cluster/residue.rs"]
mod residue;
#[path = "cluster/taint.rs"]
mod taint;
#[path = "cluster/upgrade.rs"]
mod upgrade;
#[path = "cluster/wire.rs"]
mod wire;
