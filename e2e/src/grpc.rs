//! A call to the gRPC echo server of the Gateway API conformance images.

use std::time::Duration;

use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Request, client::Grpc};
use tonic_prost::ProstCodec;

const ECHO: &str = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/Echo";
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone, PartialEq, prost::Message)]
struct EchoRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct EchoResponse {
    #[prost(message, optional, tag = "1")]
    assertions: Option<Assertions>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Assertions {
    #[prost(string, tag = "1")]
    fully_qualified_method: String,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<Header>,
    #[prost(string, tag = "3")]
    authority: String,
    #[prost(message, optional, tag = "4")]
    context: Option<Context>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Context {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    ingress: String,
    #[prost(string, tag = "3")]
    service_name: String,
    #[prost(string, tag = "4")]
    pod: String,
}

/// A call that was not answered as wanted.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The runtime or the connection failed.
    #[error("cannot connect to {address}: {message}")]
    Connect {
        /// Where to.
        address: String,
        /// Cause.
        message: String,
    },
    /// The call ended with an error status.
    #[error("the call ended with {0}")]
    Status(Box<tonic::Status>),
    /// The answer lacks what an echo server says.
    #[error("the answer does not say which pod gave it")]
    NotEcho,
}

/// Calls Echo and gives the name of the pod that answered.
///
/// # Errors
/// When the call fails.
pub fn echo(address: &str, authority: &str) -> Result<String, GrpcError> {
    let connect = |message: String| GrpcError::Connect {
        address: address.to_owned(),
        message,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| connect(error.to_string()))?;
    runtime.block_on(async {
        let origin = format!("http://{authority}")
            .parse()
            .map_err(|error| connect(format!("authority: {error:?}")))?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| connect(format!("{error:?}")))?
            .origin(origin)
            .timeout(LIMIT)
            .connect_timeout(LIMIT);
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| connect(format!("{error:?}")))?;
        let mut client = Grpc::new(channel);
        client
            .ready()
            .await
            .map_err(|error| connect(format!("{error:?}")))?;
        let codec: ProstCodec<EchoRequest, EchoResponse> = ProstCodec::default();
        let answer = client
            .unary(
                Request::new(EchoRequest {}),
                PathAndQuery::from_static(ECHO),
                codec,
            )
            .await
            .map_err(|status| GrpcError::Status(Box::new(status)))?;
        let context = answer
            .into_inner()
            .assertions
            .and_then(|a| a.context)
            .ok_or(GrpcError::NotEcho)?;
        Ok(context.pod)
    })
}
