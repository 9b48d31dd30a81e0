//! Applies the examples in both tenants, sends real requests, and prints what is reachable where.

use std::path::Path;

use anyhow::{Context, Result};
use e2e::cluster::Cluster;
use e2e::environment::Environment;
use e2e::product::Parts;
use e2e::wait::{seconds, until};
use e2e::{grpc, traffic};
use testbed::Progress;

/// Where an example is reachable.
struct Row {
    tenant: &'static str,
    object: &'static str,
    try_it: String,
    answer: String,
}

/// Applies, asks, prints.
pub fn run(environment: &Environment, parts: &Parts, progress: &Progress) -> Result<()> {
    let examples = parts.repository.join("examples/tenant");
    let mut rows = Vec::new();
    for tenant in environment.tenants() {
        progress.say(format!("examples in {}", tenant.name));
        apply_all(tenant, &examples)?;
    }
    let shared = gateway_address(&environment.hub, "shared", "shared-gateway")?;
    for tenant in environment.tenants() {
        progress.say(format!("requests to what {} serves", tenant.name));
        rows.extend(ask(tenant, &shared)?);
    }
    print_table(&rows);
    Ok(())
}

fn apply_all(tenant: &Cluster, examples: &Path) -> Result<()> {
    let folder = examples
        .to_str()
        .context("the path of the examples is not UTF-8")?;
    tenant.kubectl(&["apply", "-f", folder])?;
    // The same host cannot belong to two tenants on one shared Gateway: each has a name of its own there.
    let host = shared_host(tenant);
    let patch = format!(r#"{{"spec":{{"hostnames":["{host}"]}}}}"#);
    tenant.kubectl(&[
        "patch",
        "httproute",
        "-n",
        "demo",
        "echo-shared",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    Ok(())
}

fn shared_host(tenant: &Cluster) -> String {
    format!("{}.shared.example.com", tenant.name)
}

fn ask(tenant: &Cluster, shared: &str) -> Result<Vec<Row>> {
    let l4 = service_address(tenant, "demo", "echo-lb")?;
    let l7 = gateway_address(tenant, "demo", "demo")?;
    let host = shared_host(tenant);
    let echo = |url: &str, host: Option<&str>| {
        until(format!("an answer from {url}"), seconds(60), || {
            traffic::get(url, host)
        })
        .map(|echo| echo.pod)
    };
    let call = |address: &str, authority: &str| {
        until(format!("a gRPC answer from {address}"), seconds(60), || {
            grpc::echo(address, authority)
        })
    };
    Ok(vec![
        Row {
            tenant: tenant.name,
            object: "Service echo-lb",
            try_it: format!("curl http://{l4}/"),
            answer: echo(&format!("http://{l4}/"), None)?,
        },
        Row {
            tenant: tenant.name,
            object: "HTTPRoute echo",
            try_it: format!("curl -H 'Host: demo.a.example.com' http://{l7}/"),
            answer: echo(&format!("http://{l7}/"), Some("demo.a.example.com"))?,
        },
        Row {
            tenant: tenant.name,
            object: "GRPCRoute grpc-echo",
            try_it: format!("(gRPC) grpc.a.example.com at {l7}:80"),
            answer: call(&format!("{l7}:80"), "grpc.a.example.com")?,
        },
        Row {
            tenant: tenant.name,
            object: "HTTPRoute echo-shared",
            try_it: format!("curl -H 'Host: {host}' http://{shared}/"),
            answer: echo(&format!("http://{shared}/"), Some(&host))?,
        },
    ])
}

fn service_address(cluster: &Cluster, namespace: &str, name: &str) -> Result<String> {
    Ok(until(
        format!("an address of Service {name} in {}", cluster.name),
        seconds(120),
        || {
            let found = cluster
                .get(&["service", "-n", namespace, name])
                .map_err(|e| e.to_string())?;
            let ip = found["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
            ip.map(str::to_owned)
                .ok_or_else(|| "no address in its status".to_owned())
        },
    )?)
}

fn gateway_address(cluster: &Cluster, namespace: &str, name: &str) -> Result<String> {
    Ok(until(
        format!("an address of Gateway {name} in {}", cluster.name),
        seconds(180),
        || {
            let found = cluster
                .get(&["gateway", "-n", namespace, name])
                .map_err(|e| e.to_string())?;
            let ip = found["status"]["addresses"][0]["value"].as_str();
            ip.map(str::to_owned)
                .ok_or_else(|| found["status"]["conditions"].to_string())
        },
    )?)
}

#[expect(clippy::print_stdout, reason = "the table is what the user asked for")]
fn print_table(rows: &[Row]) {
    println!("\n{:<10} {:<22} {:<72} answered by", "TENANT", "OBJECT", "TRY");
    for Row {
        tenant,
        object,
        try_it,
        answer,
    } in rows
    {
        println!("{tenant:<10} {object:<22} {try_it:<72} {answer}");
    }
    println!("\nA shell that reaches these addresses, with kubectl and helm:  make shell");
    for (what, variable) in [
        ("hub", "KUBELB_HUB_KUBECONFIG"),
        ("tenant-a", "KUBELB_TENANT_A_KUBECONFIG"),
        ("tenant-b", "KUBELB_TENANT_B_KUBECONFIG"),
    ] {
        println!("  {what:<9} export KUBECONFIG=${variable}");
    }
    println!("Remove everything:  make lab-down");
}
