{{/* The listeners where config.listeners names none: TLS for a service, loopback for a sidecar. */}}
{{- define "authrelay.listeners" -}}
{{- if eq .Values.mode "sidecar" }}
- {name: imap, protocol: imap, bind: "127.0.0.1:1143"}
- {name: smtp, protocol: smtp, bind: "127.0.0.1:1587"}
{{- else }}
{{- range $name, $of := dict "imap" (list "0.0.0.0:1993" "implicit") "pop3" (list "0.0.0.0:1995" "implicit") "smtp" (list "0.0.0.0:1587" "starttls") }}
- name: {{ $name }}
  protocol: {{ $name }}
  bind: {{ index $of 0 }}
  tls: {mode: {{ index $of 1 }}, certificate: /run/secrets/authrelay-tls/tls.crt, key: /run/secrets/authrelay-tls/tls.key}
{{- end }}
{{- end }}
{{- end -}}

{{/* What the chart sets where `config` says nothing else. */}}
{{- define "authrelay.defaults" -}}
state:
  # A folder in the volume: the volume itself belongs to root and is open to its group.
  directory: /var/lib/authrelay/state
  key: {file: /run/secrets/authrelay/state-key}
  {{- if eq .Values.state.kind "shared" }}
  store: {url: {file: /run/secrets/authrelay/redis-url}}
  {{- end }}
log: {format: json, level: info}
admin:
  # Probes come from the node, so not to loopback, so over TLS.
  bind: 0.0.0.0:8025
  {{- if eq .Values.mode "standalone" }}
  public_url: https://{{ include "authrelay.fullname" . }}.{{ .Release.Namespace }}.svc:{{ default 8025 .Values.service.ports.admin }}
  {{- end }}
  tls: {certificate: /run/secrets/authrelay-tls/tls.crt, key: /run/secrets/authrelay-tls/tls.key}
  token: {file: /run/secrets/authrelay/admin-token}
reload: watch
limits: {drain_timeout: 30s}
{{- end -}}

{{/* The configuration that the pods get, as YAML. */}}
{{- define "authrelay.config" -}}
{{- if .Values.configText -}}
{{- if .Values.config }}{{ fail "config and configText: set one of them" }}{{ end -}}
{{- $config := fromYaml .Values.configText -}}
{{- if $config.Error }}{{ fail (printf "configText is no YAML: %s" $config.Error) }}{{ end -}}
{{- toYaml $config -}}
{{- else -}}
{{- if not (and .Values.config.registrations .Values.config.accounts) -}}
{{- fail "config: registrations and accounts are required, or configText with a whole proxy.yaml (README.md has examples)" -}}
{{- end -}}
{{- $config := mergeOverwrite (include "authrelay.defaults" . | fromYaml) (deepCopy .Values.config) -}}
{{- /* A reference takes the place of the chart's; of two merged ones it is not known which is meant. */ -}}
{{- range $path := list "admin.token" "state.key" "state.store.url" -}}
{{- $from := $.Values.config -}}
{{- $to := $config -}}
{{- range $part := initial (splitList "." $path) -}}
{{- $from = ternary (get $from $part) dict (kindIs "map" (get $from $part)) -}}
{{- $to = get $to $part -}}
{{- end -}}
{{- $last := last (splitList "." $path) -}}
{{- if hasKey $from $last -}}{{- $_ := set $to $last (get $from $last) -}}{{- end -}}
{{- end -}}
{{- if not $config.listeners -}}
{{- $_ := set $config "listeners" (include "authrelay.listeners" . | fromYamlArray) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
{{- end -}}

{{/* Listeners that the pod's network reaches, and admin: [{name, port}], as YAML. */}}
{{- define "authrelay.ports" -}}
{{- $config := include "authrelay.config" . | fromYaml -}}
{{- $ports := list -}}
{{- range $config.listeners -}}
{{- $port := regexFind "[0-9]+$" .bind | int -}}
{{- if not (regexMatch "^(127\\.|\\[::1\\])" .bind) -}}
{{- $ports = append $ports (dict "name" (default (printf "%s-%d" .protocol $port) .name) "port" $port) -}}
{{- end -}}
{{- end -}}
{{- if $config.admin -}}
{{- if regexMatch "^(127\\.|\\[::1\\])" $config.admin.bind -}}
{{- fail "admin.bind: probes come from the node, so it cannot be loopback" -}}
{{- end -}}
{{- $ports = append $ports (dict "name" "admin" "port" (regexFind "[0-9]+$" $config.admin.bind | int)) -}}
{{- else -}}
{{- fail "admin: probes need it" -}}
{{- end -}}
{{- toYaml $ports -}}
{{- end -}}

{{/* Fails where a secret stands in the configuration itself: [what, where, parent]. */}}
{{- define "authrelay.refuseSecrets" -}}
{{- $what := index . 0 -}}
{{- $where := index . 1 -}}
{{- $parent := index . 2 -}}
{{- if kindIs "map" $what -}}
{{- range $key, $value := $what -}}
{{- $path := ternary (printf "%s.%s" $where $key) $key (ne $where "") -}}
{{- $secret := has $key (list "password" "client_secret" "passphrase" "token" "viewer_token") -}}
{{- $secret = or $secret (and (eq $key "key") (or (not (has $parent (list "tls" "certificate"))) (regexMatch "^registrations\\.[^.]+$" $where))) -}}
{{- $secret = or $secret (and (eq $key "url") (eq $parent "store")) (eq $parent "headers") -}}
{{- $literal := not (or (kindIs "map" $value) (kindIs "slice" $value) (kindIs "invalid" $value)) -}}
{{- if and $secret $literal (ne (toString $value) "any") (not (hasPrefix "$argon2" (toString $value))) -}}
{{- fail (printf "%s: a secret does not belong into a ConfigMap; write {file: /run/secrets/authrelay/NAME} or {env: NAME}" $path) -}}
{{- end -}}
{{- include "authrelay.refuseSecrets" (list $value $path $key) -}}
{{- end -}}
{{- else if kindIs "slice" $what -}}
{{- range $index, $value := $what -}}
{{- include "authrelay.refuseSecrets" (list $value (printf "%s[%d]" $where $index) $parent) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Values that contradict each other. */}}
{{- define "authrelay.check" -}}
{{- $config := include "authrelay.config" . | fromYaml -}}
{{- include "authrelay.refuseSecrets" (list $config "" "") -}}
{{- $kind := .Values.state.kind -}}
{{- $replicas := int .Values.replicas -}}
{{- $store := and $config.state (kindIs "map" $config.state.store) -}}
{{- if and (eq $kind "shared") (not $store) -}}
{{- fail "state.kind shared: the configuration needs state.store" -}}
{{- end -}}
{{- if and (eq $kind "claim") (gt $replicas 1) -}}
{{- fail "state.kind claim: one relay only; several need state.kind shared" -}}
{{- end -}}
{{- range $name, $registration := $config.registrations -}}
{{- if has $registration.grant (list "authorization_code" "device_code") -}}
{{- if and (eq $kind "emptyDir") (not $store) -}}
{{- fail (printf "registrations.%s: its consents are lost with the pod; set state.kind to claim, or to shared" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.mode "sidecar" -}}
{{- if eq $kind "shared" -}}
{{- fail "mode sidecar: state.kind is emptyDir, or claim with state.existingClaim; config.state.store may stand beside each" -}}
{{- end -}}
{{- if and (eq $kind "claim") (not .Values.state.existingClaim) -}}
{{- fail "mode sidecar: state.kind claim needs state.existingClaim" -}}
{{- end -}}
{{- if .Values.monitoring.serviceMonitor.enabled -}}
{{- fail "mode sidecar: the pods are yours, so a PodMonitor of yours scrapes their port admin" -}}
{{- end -}}
{{- end -}}
{{- end -}}
