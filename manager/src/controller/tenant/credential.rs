//! Issues the tenant's credential when one is due. When that is, is decided in [`crate::build::credential`].

use api::meta;
use controller_kit::apply::apply;
use controller_kit::object::Object;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use crate::build::credential::{self as build, Binding, Life, MintReason, Plan};
use crate::build::tenant::{ACCOUNT, TOKEN_SECRET};
use crate::context::{Context, Error, FIELD_MANAGER, now};

/// The credential in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When the next one is due.
    pub renew_at: Timestamp,
}

/// Issues one where it is due. None while the account is not in the stores yet.
///
/// # Errors
/// When the API server issues no token or the Secret cannot be written.
pub async fn ensure(ctx: &Context, tenant: &str, namespace: &str) -> Result<Option<Credential>, Error> {
    let Some(binding) = binding(ctx, namespace) else {
        return Ok(None);
    };
    let server = &ctx.options.tenant_api_server;
    let stored = ctx.stores.secrets.get(namespace, meta::CREDENTIAL_SECRET);
    if let Some(kept) = kept(build::plan(stored.as_deref(), &binding, server, now())) {
        return Ok(Some(kept));
    }
    // The store may lag behind what was issued a moment ago, and every token is one more to be lost.
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let live = api
        .get_opt(meta::CREDENTIAL_SECRET)
        .await
        .map_err(Error::api("read the credential"))?;
    let reason = match build::plan(live.as_ref(), &binding, server, now()) {
        Plan::Mint(reason) => reason,
        keep => return Ok(kept(keep)),
    };
    issue(ctx, tenant, namespace, &binding, reason).await?;
    // Its Secret will be in the store soon, and the plan says then until when it is good.
    Ok(None)
}

fn kept(plan: Plan) -> Option<Credential> {
    match plan {
        Plan::Keep { issued_at, renew_at } => Some(Credential { issued_at, renew_at }),
        Plan::Mint(_) => None,
    }
}

fn binding(ctx: &Context, namespace: &str) -> Option<Binding> {
    Some(Binding {
        account_uid: ctx.stores.service_accounts.get(namespace, ACCOUNT)?.uid()?,
        secret_uid: ctx.stores.secrets.get(namespace, TOKEN_SECRET)?.uid()?,
    })
}

async fn issue(
    ctx: &Context,
    tenant: &str,
    namespace: &str,
    binding: &Binding,
    reason: MintReason,
) -> Result<(), Error> {
    let issued_at = now();
    let (token, expires_at) = request(ctx, namespace, binding).await?;
    let secret = build::secret(&build::Credential {
        tenant,
        namespace,
        token: &token,
        life: Life {
            issued_at,
            expires_at,
        },
        binding,
        server: &ctx.options.tenant_api_server,
    })?;
    apply(&ctx.client, FIELD_MANAGER, &Object::typed(&secret)?).await?;
    ctx.metrics
        .credentials
        .with_label_values(&[reason.as_str()])
        .inc();
    tracing::info!(tenant, namespace, reason = reason.as_str(), %expires_at, "issued a credential");
    Ok(())
}

async fn request(ctx: &Context, namespace: &str, binding: &Binding) -> Result<(String, Timestamp), Error> {
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(ctx.options.tenant_token_lifetime.as_secs()),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                name: Some(TOKEN_SECRET.to_owned()),
                uid: Some(binding.secret_uid.clone()),
            }),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(ctx.client.clone(), namespace);
    let answer = api
        .create_token_request(ACCOUNT, &PostParams::default(), &request)
        .await
        .map_err(Error::api("get a token for the tenant"))?;
    let status = answer.status.ok_or(Error::Token)?;
    Ok((status.token, status.expiration_timestamp.0))
}
