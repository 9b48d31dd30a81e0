//! Keeps the certificate authority and the xDS server's certificate. Only the lease holder makes them; every
//! replica takes them into use.

use std::time::Duration;

use controller_kit::apply::apply;
use controller_kit::driver::Outcome;
use controller_kit::object::Object;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::build::component;
use crate::context::{Context, Error, FIELD_MANAGER, now};
use crate::pki::{self, Authority, CA_SECRET, Place, Purpose, SERVER_SECRET};

/// Looked at this often although nothing happened: certificates age by themselves.
const PERIOD: Duration = Duration::from_secs(3600);

/// Makes what is due.
///
/// # Errors
/// When a certificate cannot be made or its Secret cannot be written.
pub async fn run(ctx: &Context) -> Result<Outcome, Error> {
    if !ctx.leads() || ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    let own = |name| ctx.stores.secrets.get(&ctx.options.namespace, name);
    let live = own(CA_SECRET);
    let current = live.as_deref().and_then(|secret| Authority::of(secret).ok());
    let due = |secret: Option<&Secret>| {
        pki::is_due(secret, &Purpose::Authority, None, now())
            || secret.is_none_or(|s| Authority::of(s).is_err())
    };
    // A second authority would cost every Envoy its certificate, so the store alone is not believed.
    let authority = if due(live.as_deref()) && due(read(ctx).await?.as_ref()) {
        let made = pki::authority(&place(ctx, CA_SECRET), current.as_ref(), now())?;
        write(ctx, &made).await?;
        tracing::info!(secret = CA_SECRET, "made a certificate authority");
        Authority::of(&made)?
    } else {
        current.ok_or(Error::NoCertificateAuthority)?
    };
    let purpose = Purpose::Server(ctx.options.bootstrap.xds_server_name.as_str().to_owned());
    if pki::is_due(own(SERVER_SECRET).as_deref(), &purpose, Some(&authority), now()) {
        write(
            ctx,
            &pki::leaf(&place(ctx, SERVER_SECRET), &purpose, &authority, now())?,
        )
        .await?;
        tracing::info!(secret = SERVER_SECRET, "made a server certificate");
    }
    Ok(Outcome::requeue(PERIOD))
}

fn place<'a>(ctx: &'a Context, name: &'a str) -> Place<'a> {
    Place {
        namespace: &ctx.options.namespace,
        name,
        tenant: "",
        component: component::XDS,
    }
}

async fn read(ctx: &Context) -> Result<Option<Secret>, Error> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &ctx.options.namespace);
    api.get_opt(CA_SECRET)
        .await
        .map_err(Error::api("read the certificate authority"))
}

/// The names are the manager's own, in its own namespace: whoever else put something there has to give way.
async fn write(ctx: &Context, secret: &Secret) -> Result<(), Error> {
    apply(&ctx.client, FIELD_MANAGER, &Object::typed(secret)?).await?;
    Ok(())
}

/// The authority in force.
///
/// # Errors
/// When there is none yet.
pub fn authority(ctx: &Context) -> Result<Authority, Error> {
    let secret = ctx
        .stores
        .secrets
        .get(&ctx.options.namespace, CA_SECRET)
        .ok_or(Error::NoCertificateAuthority)?;
    Ok(Authority::of(&secret)?)
}

/// What the xDS server needs, if all of it is there.
///
/// # Errors
/// When it is there and cannot be used.
pub fn material(ctx: &Context) -> Result<Option<l4_xds::TlsMaterial>, pki::MaterialError> {
    let (Ok(authority), Some(server)) = (
        authority(ctx),
        ctx.stores.secrets.get(&ctx.options.namespace, SERVER_SECRET),
    ) else {
        return Ok(None);
    };
    pki::server_material(&server, &authority).map(Some)
}
