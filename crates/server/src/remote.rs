//! Pictures of other servers, and never of machines that only this one can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// The longest that a picture may take, redirections included.
const TIME: Duration = Duration::from_secs(20);
/// How often another server may point to a further one.
const REDIRECTS: u32 = 3;

/// Fetches pictures from addresses that everybody can reach.
///
/// A name is looked up once for each connection, and the connection is made to the address that was
/// looked at: a name that means something else a moment later gains nothing. Redirections are
/// looked up and checked alike. The environment's proxies are not used, as they would do the looking
/// up.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    agent: ureq::Agent,
    max_bytes: u64,
    time: Duration,
}

impl Fetcher {
    /// Returns a fetcher of pictures of at most `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self::with_resolver(max_bytes, TIME, Public { lookup: DefaultResolver::default() })
    }

    fn with_resolver(max_bytes: usize, time: Duration, resolver: impl Resolver) -> Self {
        let config = Config::builder()
            .timeout_global(Some(time))
            .max_redirects(REDIRECTS)
            .max_idle_connections(0)
            .proxy(None)
            .user_agent("aki")
            .accept("image/*")
            .build();
        let resolver = OfTheWeb { lookup: resolver };
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), resolver);
        Self { agent, max_bytes: max_bytes as u64, time }
    }

    /// Returns what is at an address; takes a while. The error is for the client.
    pub(crate) fn fetch(&self, url: &str) -> Result<Vec<u8>, String> {
        let failed = |error: ureq::Error| match error {
            ureq::Error::StatusCode(status) => {
                format!("the server of the image answered with status {status}")
            }
            ureq::Error::Timeout(_) => {
                format!("the image did not come within {} seconds", self.time.as_secs_f32())
            }
            ureq::Error::BodyExceedsLimit(limit) => {
                format!("the image has more than {limit} bytes")
            }
            ureq::Error::TooManyRedirects => {
                format!("the image was moved more than {REDIRECTS} times")
            }
            ureq::Error::HostNotFound => {
                "the image's server is not known, or not on the public internet".to_owned()
            }
            // The rest would tell about the network that this server is in.
            _ => "the image could not be fetched".to_owned(),
        };
        let mut response = self.agent.get(url).call().map_err(failed)?;
        let body = response.body_mut().with_config().limit(self.max_bytes);
        body.read_to_vec().map_err(failed)
    }
}

/// Looks up what the addresses of web pages name, and nothing else: a redirection may lead to any
/// scheme, and whether that is one of the web is not left to what happens further down.
#[derive(Debug)]
struct OfTheWeb<R> {
    lookup: R,
}

impl<R: Resolver> Resolver for OfTheWeb<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(ureq::Error::BadUri("neither http nor https".to_owned()));
        }
        self.lookup.resolve(uri, config, timeout)
    }
}

/// Looks names up, and leaves out every address that is not public.
#[derive(Debug)]
struct Public<R> {
    lookup: R,
}

impl<R: Resolver> Resolver for Public<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.lookup.resolve(uri, config, timeout)?;
        let mut public = self.empty();
        let addresses = found.iter().filter(|address: &&SocketAddr| is_public(address.ip()));
        addresses.for_each(|address| public.push(*address));
        if public.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(public) }
    }
}

/// Returns whether everybody on the internet can reach an address, so that nothing is given away by
/// what it answers.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        // Shared by the customers of a provider.
        || (a == 100 && b & 0xC0 == 64)
        // Assigned to protocols; relays; measurements.
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && b & 0xFE == 18)
        // Multicast, reserved, broadcast.
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(embedded) = address.to_ipv4_mapped() {
        return is_public_v4(embedded);
    }
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b) {
        // Addresses of the older kind behind a translator, and in a tunnel.
        (0x64, 0xFF9B) => [c, d, e, f] == [0; 4] && is_public_v4(embedded(g, h)),
        (0x2002, high) => is_public_v4(embedded(high, c)),
        // Assigned to protocols, and documentation.
        (0x2001, 0..=0x01FF | 0x0DB8) | (0x3FFF, 0..=0x0FFF) => false,
        // What has been given out to the public.
        _ => a & 0xE000 == 0x2000,
    }
}

#[cfg(test)]
mod tests;
