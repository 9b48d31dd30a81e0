use std::{fs, path::Path};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::metrics::Metrics;

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: hub\n\
         clusters: [{{name: hub, cluster: {{server: '{server}'}}}}]\n\
         contexts: [{{name: hub, context: {{cluster: hub, user: ccm, namespace: tenant-a}}}}]\n\
         users: [{{name: ccm, user: {{token: abc}}}}]\n"
    )
}

/// As a mounted Secret does it: new directory, then a symbolic link is swapped.
fn publish(dir: &Path, version: &str, content: &str) {
    fs::create_dir(dir.join(version)).unwrap();
    fs::write(dir.join(version).join("kubelb"), content).unwrap();
    std::os::unix::fs::symlink(version, dir.join("..new")).unwrap();
    fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
}

#[tokio::test]
async fn a_changed_file_gives_a_new_client_and_bad_content_keeps_the_old_one() {
    let dir = TempDir::new().unwrap();
    publish(dir.path(), "v1", &kubeconfig("http://one:80"));
    let metrics = Metrics::new();
    let file = KubeconfigFile::open(dir.path().join("..data/kubelb"), "kubelb-ccm/0.1.0")
        .await
        .unwrap();
    let file = file
        .counting(KubeconfigFile::metrics(&metrics, "t").unwrap())
        .poll_every(Duration::from_millis(5));
    let mut connections = file.subscribe();
    assert_eq!(
        connections.borrow_and_update().client.default_namespace(),
        "tenant-a"
    );
    let stop = CancellationToken::new();
    let task = tokio::spawn(file.run(stop.clone()));

    publish(dir.path(), "v2", "clusters: {");
    wait_for(&metrics, r#"t_kubeconfig_reloads_total{result="error"} 1"#).await;
    assert!(!connections.has_changed().unwrap());

    publish(dir.path(), "v3", &kubeconfig("http://two:80"));
    connections.changed().await.unwrap();
    assert_eq!(connections.borrow_and_update().generation, 2);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        !connections.has_changed().unwrap(),
        "the same content is not news"
    );
    wait_for(&metrics, r#"t_kubeconfig_reloads_total{result="success"} 1"#).await;
    stop.cancel();
    task.await.unwrap();
}

async fn wait_for(metrics: &Metrics, line: &str) {
    while !metrics.text().unwrap().contains(line) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_missing_or_bad_file_is_an_error_that_names_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("kubelb");
    let missing = connect(Some(path.clone()), "x").await.err().unwrap();
    assert_eq!(missing.to_string(), format!("cannot read {}", path.display()));
    fs::write(
        &path,
        kubeconfig("http://one:80").replace("current-context: hub", "current-context: other"),
    )
    .unwrap();
    let bad = KubeconfigFile::open(&path, "x").await.err().unwrap();
    assert_eq!(
        bad.to_string(),
        format!("kubeconfig {} is not valid", path.display())
    );
}

#[tokio::test]
async fn a_certificate_file_that_changes_counts_as_a_change_of_the_kubeconfig() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("kubelb");
    let text = kubeconfig("http://one:80").replace("server:", "certificate-authority: ca.crt, server:");
    fs::write(&path, text).unwrap();
    fs::write(dir.path().join("ca.crt"), "").unwrap();
    let file = KubeconfigFile::open(&path, "x")
        .await
        .unwrap()
        .poll_every(Duration::from_millis(5));
    let (mut connections, stop) = (file.subscribe(), CancellationToken::new());
    tokio::spawn(file.run(stop.clone()));
    fs::write(dir.path().join("ca.crt"), "\n").unwrap();
    connections.changed().await.unwrap();
    stop.cancel();
}

#[tokio::test]
async fn requests_carry_our_name() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new(
        format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap(),
    );
    let client = build(config, "kubelb-manager/0.1.0").unwrap();
    let asked = tokio::spawn(async move { client.apiserver_version().await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).await.unwrap();
    let head = String::from_utf8_lossy(&buffer[..length]).into_owned();
    stream
        .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    assert!(asked.await.unwrap().is_err());
    assert!(head.contains("user-agent: kubelb-manager/0.1.0\r\n"), "{head}");
}

#[tokio::test]
async fn a_user_agent_that_is_no_header_is_refused() {
    let config = Config::new("http://one:80".parse().unwrap());
    assert_eq!(
        build(config, "a\nb").err().unwrap().to_string(),
        "\"a\\nb\" is no user agent"
    );
}
