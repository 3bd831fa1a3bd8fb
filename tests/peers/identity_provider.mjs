// An OAuth 2.0 authorization server (npm's oidc-provider) that issues app-only JWT access tokens.
//
// usage: node identity_provider.mjs CERTIFICATE KEY KEY_FOLDER CLIENT_CERTIFICATE
//
// Listens on a port that the system picks, says `ready PORT` on stdout, and then one JSON line a
// token request: {"client": …, "status": …}. The key that tokens are signed with is written
// where Dovecot's local validation looks for it: KEY_FOLDER/default/RS256/KID.
import { createServer } from 'node:https';
import { X509Certificate, generateKeyPairSync, webcrypto } from 'node:crypto';
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
  }],
  enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256'] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' }] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://mail.test',
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
        jwt.payload.idtyp = 'app';
      },
    },
  },
});
provider.use(async (context, next) => {
  await next();
  if (context.path === '/token') {
    console.log(JSON.stringify({ client: context.oidc?.client?.clientId, status: context.status }));
  }
});
server.on('request', provider.callback());
console.log(`ready ${port}`);
