{{/*
The relay's container. Also for a pod of your own, as a native sidecar (initContainers with restartPolicy Always):

  initContainers:
    {{- include "authrelay.sidecar.container" .Subcharts.authrelay | nindent 8 }}
  volumes:
    {{- include "authrelay.sidecar.volumes" .Subcharts.authrelay | nindent 8 }}
  securityContext: {fsGroup: 65532, fsGroupChangePolicy: OnRootMismatch}
*/}}
{{- define "authrelay.sidecar.container" -}}
- name: authrelay
  image: {{ include "authrelay.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- if eq .Values.mode "sidecar" }}
  restartPolicy: Always
  {{- else if eq .Values.state.kind "shared" }}
  args: [run, --confine, --name, $(POD_NAME)]
  {{- end }}
  ports:
    {{- range include "authrelay.ports" . | fromYamlArray }}
    - {name: {{ .name | quote }}, containerPort: {{ .port }}}
    {{- end }}
  {{- $shared := eq .Values.state.kind "shared" }}
  {{- if or $shared .Values.env }}
  env:
    {{- if $shared }}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    {{- end }}
    {{- with .Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  # Trouble of the mail service or the identity provider fails none of these.
  startupProbe:
    httpGet: {path: /readyz, port: admin, scheme: {{ include "authrelay.scheme" . }}}
    periodSeconds: 1
    failureThreshold: 30
  {{- if ne .Values.mode "sidecar" }}
  readinessProbe:
    httpGet: {path: /readyz, port: admin, scheme: {{ include "authrelay.scheme" . }}}
    periodSeconds: 5
  {{- end }}
  livenessProbe:
    httpGet: {path: /livez, port: admin, scheme: {{ include "authrelay.scheme" . }}}
    periodSeconds: 10
  {{- if and (ne .Values.mode "sidecar") .Values.preStopSeconds }}
  # The Service forgets the pod before its listeners close.
  lifecycle: {preStop: {sleep: {seconds: {{ .Values.preStopSeconds }}}}}
  {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    - {name: {{ include "authrelay.volume" (list . "config") }}, mountPath: /etc/authrelay, readOnly: true}
    - {name: {{ include "authrelay.volume" (list . "secrets") }}, mountPath: /run/secrets/authrelay, readOnly: true}
    - {name: {{ include "authrelay.volume" (list . "tls") }}, mountPath: /run/secrets/authrelay-tls, readOnly: true}
    - {name: {{ include "authrelay.volume" (list . "state") }}, mountPath: /var/lib/authrelay}
    {{- if .Values.secrets.csi.enabled }}
    # Mounted for the driver's sake, which then makes the Secret; nothing reads it.
    - {name: {{ include "authrelay.volume" (list . "csi") }}, mountPath: /run/secrets/authrelay-csi, readOnly: true}
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "authrelay.sidecar.volumes" -}}
- name: {{ include "authrelay.volume" (list . "config") }}
  configMap: {name: {{ include "authrelay.fullname" . }}}
- name: {{ include "authrelay.volume" (list . "secrets") }}
  secret: {secretName: {{ .Values.secrets.name }}, defaultMode: 0400}
- name: {{ include "authrelay.volume" (list . "tls") }}
  secret: {secretName: {{ .Values.secrets.tlsName }}, defaultMode: 0400}
{{- if eq .Values.state.kind "emptyDir" }}
- name: {{ include "authrelay.volume" (list . "state") }}
  emptyDir: {sizeLimit: {{ .Values.state.size }}}
{{- else if eq .Values.state.kind "claim" }}
- name: {{ include "authrelay.volume" (list . "state") }}
  persistentVolumeClaim: {claimName: {{ default (include "authrelay.fullname" .) .Values.state.existingClaim }}}
{{- end }}
{{- if .Values.secrets.csi.enabled }}
- name: {{ include "authrelay.volume" (list . "csi") }}
  csi:
    driver: secrets-store.csi.k8s.io
    readOnly: true
    volumeAttributes: {secretProviderClass: {{ include "authrelay.fullname" . }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A volume's name; in a pod of your own it must not meet one of yours. */}}
{{- define "authrelay.volume" -}}
{{- $root := index . 0 -}}
{{- if eq $root.Values.mode "sidecar" -}}authrelay-{{ end -}}
{{- index . 1 -}}
{{- end -}}

{{- define "authrelay.scheme" -}}
{{- $config := include "authrelay.config" . | fromYaml -}}
{{- ternary "HTTPS" "HTTP" (not (empty $config.admin.tls)) -}}
{{- end -}}

{{/* preStop, limits.drain_timeout, and ten seconds. */}}
{{- define "authrelay.gracePeriod" -}}
{{- $config := include "authrelay.config" . | fromYaml -}}
{{- $drain := "30s" -}}
{{- with $config.limits }}{{ with .drain_timeout }}{{ $drain = . }}{{ end }}{{ end -}}
{{- add (int .Values.preStopSeconds) (include "authrelay.seconds" $drain | int) 10 -}}
{{- end -}}

{{- define "authrelay.podTemplate" -}}
metadata:
  labels:
    {{- include "authrelay.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $annotations := deepCopy .Values.podAnnotations }}
  {{- if .Values.restartOnConfigChange }}
  {{- $_ := set $annotations "authrelay/config" (include "authrelay.config" . | sha256sum) }}
  {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "authrelay.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "authrelay.gracePeriod" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    # Secrets are root's, and readable by this group.
    fsGroup: 65532
    # Not at each mount: what the state's owner has tightened stays so.
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if gt (int .Values.replicas) 1 }}
  topologySpreadConstraints:
    {{- range $key, $unsatisfiable := dict "kubernetes.io/hostname" "DoNotSchedule" "topology.kubernetes.io/zone" "ScheduleAnyway" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: {{ $unsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "authrelay.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    {{- include "authrelay.sidecar.container" . | nindent 4 }}
  volumes:
    {{- include "authrelay.sidecar.volumes" . | nindent 4 }}
{{- end -}}
