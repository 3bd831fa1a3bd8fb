// An OAuth 2.0 authorization server (npm's oidc-provider) that issues JWT access tokens: app-only
// ones, and those of people who consent (any name is a person's, any password hers).
//
// usage: node identity_provider.mjs CERTIFICATE KEY KEY_FOLDER CLIENT_CERTIFICATE
//
// Listens on a port that the system picks, says `ready PORT` on stdout, and then one JSON line a
// token request: {"client": …, "status": …}, with "refresh" (a digest) where a refresh token was
// presented. The key that tokens are signed with is written where Dovecot's local validation
// looks for it: KEY_FOLDER/default/RS256/KID.
import { createServer } from 'node:https';
import { X509Certificate, createHash, generateKeyPairSync, webcrypto } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

// Debian 12's Node 18 lacks these two, which oidc-provider and jose take for granted.
globalThis.crypto ??= webcrypto;
URL.parse ??= (text, base) => (URL.canParse(text, base) ? new URL(text, base) : null);
const { Provider } = await import('oidc-provider');

const [certificate, key, keyFolder, clientCertificate] = process.argv.slice(2);
const clientKey = new X509Certificate(readFileSync(clientCertificate)).publicKey.export({ format: 'jwk' });
const kid = 'peers';
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const folder = join(keyFolder, 'default', 'RS256');
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, kid), publicKey.export({ type: 'spki', format: 'pem' }));

const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address();

// For people; a public client, so that PKCE is wanted, at any port of this machine.
const person = {
  application_type: 'native',
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  response_types: ['code'],
  redirect_uris: ['http://localhost/oauth/callback'],
  token_endpoint_auth_method: 'none',
};
// For the people who sign in to the status page, at any port of this machine, below a path too.
const signIn = {
  client_id: 'authrelay-sign-in',
  client_secret: 'the-secret-of-the-sign-in',
  application_type: 'native',
  grant_types: ['authorization_code'],
  response_types: ['code'],
  redirect_uris: ['http://localhost/oidc/callback', 'http://localhost/relay/oidc/callback'],
  token_endpoint_auth_method: 'client_secret_basic',
};
// Seconds for which the tokens of people are good, by what the answers say: a rotating one's is to
// be replaced at once.
const lifetimes = { 'authrelay-person': 600, 'authrelay-rotating': 1 };

const provider = new Provider(`https://localhost:${port}`, {
  clients: [{
    client_id: 'authrelay',
    client_secret: 'the-application-secret',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    token_endpoint_auth_method: 'client_secret_post',
  }, {
    // Proves itself by what its certificate's key signs.
    client_id: 'authrelay-certificate',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'PS256',
    jwks: { keys: [{ ...clientKey, use: 'sig', alg: 'PS256' }] },
  }, signIn, ...Object.keys(lifetimes).map((client_id) => ({ client_id, ...person }))],
  pkce: { required: () => true },
  // Claims of scopes are at the UserInfo endpoint, as OpenID Connect Core §5.4 has it.
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['preferred_username', 'groups'] },
  findAccount: (context, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      email: id,
      email_verified: true,
      preferred_username: id.split('@')[0],
      groups: [`${id.split('@')[0]}s`],
    }),
  }),
  issueRefreshToken: () => true,
  // Each refresh token is good once; a second use ends the consent.
  rotateRefreshToken: true,
  enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256'] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' }] },
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (context, client) => (client.clientId === signIn.client_id ? undefined : 'https://mail.test'),
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'mail',
        audience: 'https://mail.test',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 3600,
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  formats: {
    customizers: {
      // Dovecot 2.3 takes no `at+jwt`; `idtyp: app` is how Entra marks app-only tokens.
      jwt(context, token, jwt) {
        jwt.header = { ...jwt.header, typ: 'JWT' };
        jwt.payload.idtyp = token.accountId ? 'user' : 'app';
        if (token.accountId) jwt.payload.upn = token.accountId;
      },
    },
  },
});
provider.use(async (context, next) => {
  await next();
  if (context.path === '/token') {
    const { client, params } = context.oidc ?? {};
    if (context.body?.expires_in) context.body.expires_in = lifetimes[client?.clientId] ?? 3600;
    const token = params?.refresh_token;
    const refresh = token && createHash('sha256').update(token).digest('hex');
    console.log(JSON.stringify({ client: client?.clientId, status: context.status, refresh }));
  }
});
server.on('request', provider.callback());
console.log(`ready ${port}`);
