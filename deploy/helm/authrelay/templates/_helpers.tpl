{{- define "authrelay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "authrelay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains (include "authrelay.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "authrelay.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "authrelay.selector" -}}
app.kubernetes.io/name: {{ include "authrelay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "authrelay.labels" -}}
{{ include "authrelay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "authrelay.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "authrelay.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "authrelay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* A time of proxy.yaml (90s, 2m, 1h, "1m 30s") in seconds. */}}
{{- define "authrelay.seconds" -}}
{{- $text := . | toString | nospace -}}
{{- if not (regexMatch "^([0-9]+(h|m|s))+$" $text) -}}
{{- fail (printf "limits.drain_timeout: %s is no time that the chart can read; write 30s, 2m or 1h" .) -}}
{{- end -}}
{{- $seconds := 0 -}}
{{- range regexFindAll "[0-9]+(h|m|s)" $text -1 -}}
{{- $factor := get (dict "s" 1 "m" 60 "h" 3600) (substr (int (sub (len .) 1)) (len .) .) -}}
{{- $seconds = add $seconds (mul $factor (int (regexFind "[0-9]+" .))) -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}
