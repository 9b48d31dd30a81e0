{{/* Base of all names: at most 40 characters, so that suffixes stay within 63. */}}
{{- define "kubelb-manager.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kubelb-manager.selectorLabels" -}}
app.kubernetes.io/name: kubelb-manager
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kubelb-manager.labels" -}}
{{ include "kubelb-manager.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Cluster-scoped names carry the namespace too: two releases may have one name. */}}
{{- define "kubelb-manager.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "kubelb-manager.fullname" .) }}
{{- end }}

{{- define "kubelb-manager.user" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "kubelb-manager.fullname" .) }}
{{- end }}
